#!/bin/bash
# check.sh [option of tegula check]... KERNEL -- SIZES...
#
# Runs `tegula check` on examples/kernels/KERNEL.tile for each SIZES, such as "M=37 N=45", and each of TARGETS. Code for a
# level that this machine lacks is compiled and left alone.
options=() sizes=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    options+=("$1")
    shift
done
shift
kernel=${options[-1]}
unset 'options[-1]'
file=$(dirname "$0")/../../examples/kernels/$kernel.tile
for size in "$@"; do
    for target in ${TARGETS:-v2 v3 v4 native}; do
        # shellcheck disable=SC2086 # the sizes are words
        if ! tegula check "$file" --target "$target" "${options[@]}" ${size:+-s ${size// / -s }}; then
            echo "check.sh: failed: tegula check examples/kernels/$kernel.tile --target $target ${options[*]}" \
                 "${size:+-s ${size// / -s }}"
            exit 1
        fi
    done
done
