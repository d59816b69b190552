// The scalar operations on single elements, from the rows of scalar.def: what the constant folder and the reference
// interpreters compute with.
#ifndef TEGULA_IR_SCALAR_H
#define TEGULA_IR_SCALAR_H

#include "ir/dtype.h"
#include "ir/ir.h"

// Whether the operation takes operands of element type t.
bool scalar_is_defined(enum opcode code, enum dtype t);

// One scalar operation. t is the element type of the operands; for select it is that of operands 2 and 3, and a.i is
// the condition. Operands which the operation does not take are ignored. Floats are computed in double and rounded to t
// (fma has one rounding for f64 and f32), integers wrap to t. Comparisons give i = 0 or 1.
union scalar scalar_eval(enum opcode code, enum dtype t, union scalar a, union scalar b, union scalar c);

// The element which a combiner of reduce, scan and atomic leaves alone. "Lowest" is minus infinity, or the least number
// of a type without infinities.
union scalar scalar_identity(enum opcode combiner, enum dtype t);

// A literal as an element of type t.
union scalar scalar_from_number(enum dtype t, struct number n);

#endif
