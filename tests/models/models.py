#!/usr/bin/python3
"""The example models, compiled and run.

    models.py outputs TEGULA TARGET    their outputs against those to expect, on one thread and on two
    models.py sizes RUN_SIZES          many sizes from one compilation, against the interpreter of graphs
    models.py threads TEGULA           models whose loops threads share: the same bits on any number of them
    models.py files TEGULA             compiled to files with code for several targets, each of which is run
    models.py launches TEGULA          each launch against the interpreter; the work that profiles count

Exit status: 0 passed, 1 failed, 77 Python packages are missing or the machine cannot run the target.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DIGITS = ROOT / "examples" / "digits"

sys.path.append(str(ROOT / "tests"))
import packages  # noqa: E402

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError:
    packages.run_again("numpy, onnx and onnxruntime")

AVX2 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"}
NEEDS = {"v2": set(), "v3": AVX2, "v4": AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
         "native": set()}
LEAST_MODELS = 35

# Models that are refused, and the operators that are to blame, all of them. Who adds an operator takes it out here.
NOT_YET = {}

# Every size that the inputs leave open; 0 and 1, powers of two and not.
SIZES = {
    "mlp": [f"N={n}" for n in (0, 1, 2, 7, 33, 128, 3001)],
    "resnet_stage": [f"N={n}" for n in (0, 1, 2, 3)],
    "mobilenet_block": [f"N={n}" for n in (0, 1, 2, 7)],
    "bert_layer": [f"batch={n},sequence={s}" for n, s in
                   ((0, 7), (1, 1), (2, 7), (7, 2), (1, 33), (33, 1), (3, 0), (2, 33), (1, 128))],
    "bert_layer_static": [""],
    "tiny_gemms": [""],
    "if_model": [f"N={n}" for n in (0, 1, 2, 7, 33, 128, 20001)],
    "mobilenet_v2": ["N=0", "N=1", "N=3"],
    "mobilenet_v3": ["N=0", "N=1", "N=3"],
    "efficientnet_b0": ["N=0", "N=1", "N=3"],
    "unet": ["N=0", "N=1", "N=3"],
    "text_detector": ["N=1,H=32,W=64", "N=2,H=64,W=32", "N=0,H=32,W=32", "N=1,H=0,W=32", "N=1,H=96,W=160"],
    "vit_tiny": ["batch=0", "batch=1", "batch=3"],
    "bert_base": [f"batch={n},sequence={s}" for n, s in ((1, 1), (2, 24), (3, 7), (0, 5), (1, 23))],
    "gpt2_decode": [f"batch={n},past={p},sequence={s},total={p + s}" for n, p, s in
                    ((1, 0, 1), (2, 3, 2), (1, 0, 32), (1, 31, 1), (0, 3, 2), (2, 5, 0), (3, 13, 11))],
    "t5_encoder": [f"batch={n},sequence={s}" for n, s in ((1, 1), (2, 70), (0, 5), (3, 0), (1, 131))],
    "t5_decoder": [f"batch={n},sequence={s},encoder_sequence={t}" for n, s, t in
                   ((1, 1, 1), (2, 5, 3), (1, 40, 9), (0, 5, 3), (2, 0, 3), (3, 17, 67))],
    "lstm": [f"steps={s},batch={n}" for s, n in ((0, 1), (1, 1), (9, 3), (5, 0), (31, 7))],
    "lstm_bidirectional": [f"steps={s},batch={n}" for s, n in ((0, 1), (1, 1), (9, 3), (5, 0), (31, 7))],
    "gru": [f"steps={s},batch={n}" for s, n in ((0, 1), (1, 1), (9, 3), (5, 0), (31, 7))],
    "speech_features": ["N=1,samples=17", "N=2,samples=333", "N=1,samples=3000", "N=0,samples=331"],
    "half_weights": ["N=0", "N=1", "N=5"],
}
TWICE = {"gpt2_prefill", "if_model_else"}  # others of the above with other inputs


def make_models(folder, *options):
    subprocess.run([sys.executable, ROOT / "examples/models/make.py", folder, *options], check=True,
                   stdout=subprocess.DEVNULL)


def make_digits(folder):
    """The classifier with all its samples in one batch; returns the digits that they show."""
    samples = sorted((DIGITS / "samples").glob("*.npy"))
    images = np.concatenate([np.load(sample) for sample in samples])
    model = (DIGITS / "digits.onnx").read_bytes()
    (folder / "digits.onnx").write_bytes(model)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for stem, array in (("input", images), ("output", session.run(None, {"image": images})[0])):
        (folder / f"digits.{stem}s").mkdir()
        np.save(folder / f"digits.{stem}s" / f"{stem}_0.npy", array)
    return [int(re.search(r"(\d)", sample.stem)[1]) for sample in samples]


def run(tegula, model, out, *options, **environment):
    """Runs a model; returns its outputs' files, or None after printing what is wrong."""
    result = subprocess.run([tegula, "run", model, "--output-dir", out, *options], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, universal_newlines=True, env={**os.environ, **environment})
    if result.returncode:
        print(f"{model.name} {' '.join(map(str, options))}: status {result.returncode}\n{result.stdout}")
        return None
    return sorted(out.iterdir())


def refused(tegula, model):
    """The operators for which a model is refused."""
    result = subprocess.run([tegula, "opt", model], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            universal_newlines=True)
    return set(re.findall(r"operator '(\w+)'.* is not supported", result.stderr)) if result.returncode else set()


def same_files(a, b):
    return [p.name for p in a] == [p.name for p in b] and all(p.read_bytes() == q.read_bytes() for p, q in zip(a, b))


def wrong_outputs(files, folder):
    """What is wrong with the outputs; an empty list if nothing is."""
    wants = sorted(folder.iterdir())
    if [path.name for path in files] != [path.name for path in wants]:
        return [f"the outputs are {[path.name for path in files]}"]
    wrong = []
    for path, want_path in zip(files, wants):
        have, want = np.load(path), np.load(want_path)
        if have.dtype != want.dtype or have.shape != want.shape:
            wrong.append(f"{path.name} is {have.dtype}{have.shape}, not {want.dtype}{want.shape}")
            continue
        magnitude = np.abs(want).max(initial=0)
        if not np.allclose(have, want, rtol=1e-3, atol=1e-5 * magnitude):
            wrong.append(f"{path.name} differs by up to {np.abs(have - want).max():.3g}; its magnitude is {magnitude:.3g}")
    return wrong


def can_run(target):
    with open("/proc/cpuinfo") as file:
        return NEEDS[target] <= set(next((line.split() for line in file if line.startswith("flags")), []))


def test_outputs(folder, tegula, target):
    if not can_run(target):
        print(f"SKIP hardware: this machine cannot run {target}")
        return 77
    make_models(folder, "--small")
    digits = make_digits(folder)
    models, bad = sorted(folder.glob("*.onnx")), 0
    for model in models:
        if model.stem in NOT_YET:
            blamed, wanted = refused(tegula, model), NOT_YET[model.stem]
            fits = blamed == wanted
            print(f"{model.stem}: " + ("refused" if fits else f"NOT_YET says {wanted}, what it lacks is {blamed}"))
            bad += not fits
            continue
        inputs, one, two = model.with_suffix(".inputs"), folder / f"{model.stem}.one", folder / f"{model.stem}.two"
        options = ["--input-dir", inputs, "--target", target]
        ones, twos = run(tegula, model, one, *options, "-j1"), run(tegula, model, two, *options, "-j2")
        if ones is None or twos is None:
            bad += 1
            continue
        wrong = wrong_outputs(ones, model.with_suffix(".outputs"))
        if not same_files(ones, twos):
            wrong.append("two threads give other bits than one")
        if model.stem == "digits" and np.load(ones[0]).argmax(axis=1).tolist() != digits:
            wrong.append(f"it takes the digits {digits} for {np.load(ones[0]).argmax(axis=1).tolist()}")
        print(f"{model.stem}: {'; '.join(wrong) or 'ok'}")
        bad += bool(wrong)
    return 1 if bad or len(models) < LEAST_MODELS else 0


def has_open_size(path):
    graph = onnx.load(path).graph
    return any(dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim)


def test_sizes(folder, run_sizes):
    make_models(folder, "--small")
    without = {path.stem for path in folder.glob("*.onnx") if has_open_size(path)} - SIZES.keys() - TWICE
    if without:
        print(f"SIZES has none for {without}")
    bad = len(without)
    for name, sizes in SIZES.items():
        if name in NOT_YET:
            continue
        result = subprocess.run([run_sizes, folder / f"{name}.onnx", "native", *sizes], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, universal_newlines=True)
        lines = result.stdout.splitlines()
        runs = [line for line in lines if line.endswith(": ok")]
        good = result.returncode == 0 and len(runs) == len(sizes) * (2 if name == "if_model" else 1)
        if good and sizes[0] and lines[-1].startswith("0 loops"):
            lines.append("no size is so large that its loops are shared")
            good = False
        print(f"{name}: {len(runs)} runs, {lines[-1] if lines else ''}" if good else
              "\n  ".join([name + ":"] + lines))
        bad += not good
    return 1 if bad else 0


def test_threads(folder, tegula):
    """Full sizes: loops that are worth sharing."""
    names = {"mlp": ["--dim", "N=200"], "bert_layer_static": []}
    make_models(folder, *names)
    bad = 0
    for name, options in names.items():
        model, files = folder / f"{name}.onnx", {}
        for threads in (1, 2, 3, 8):
            files[threads] = run(tegula, model, folder / f"{name}.{threads}", *options, f"-j{threads}")
        wrong = [threads for threads, found in files.items() if not (found and files[1] and same_files(found, files[1]))]
        expected = run(tegula, model, folder / f"{name}.expected", "--input-dir", model.with_suffix(".inputs"), "-j2")
        problems = wrong_outputs(expected, model.with_suffix(".outputs")) if expected else ["it does not run"]
        if wrong:
            problems.append(f"{wrong} threads give other bits than one")
        print(f"{name}: {'; '.join(problems) or 'ok'}")
        bad += bool(problems)
    return 1 if bad else 0


def test_files(folder, tegula):
    """A shared object for three targets: each gives what the model compiled for it in memory gives, and that is right.
    Every other one has its weights in a file."""
    names = ("mlp", "resnet_stage", "mobilenet_block", "bert_layer", "lstm", "half_weights", "if_model")
    make_models(folder, *names, "--small")
    bad = 0
    for i, name in enumerate(names):
        model, library = folder / f"{name}.onnx", folder / f"{name}.so"
        weights = ["--weights", folder / f"{name}.weights"] if i % 2 else []
        subprocess.run([tegula, "compile", model, "-o", library, *weights], check=True)
        for target in filter(can_run, ("v2", "v3", "v4")):
            options = ["--input-dir", model.with_suffix(".inputs"), "-j2"]
            have = run(tegula, library, folder / f"{name}.{target}", *options, TEGULA_TARGET=f"x86-64-{target}")
            want = run(tegula, model, folder / f"{name}.memory.{target}", *options, "--target", target)
            wrong = wrong_outputs(have, model.with_suffix(".outputs")) if have and want else ["it does not run"]
            if have and want and not same_files(have, want):
                wrong.append("the file gives other bits than the model compiled in memory")
            print(f"{name} for {target}: {'; '.join(wrong) or 'ok'}")
            bad += bool(wrong)
    return 1 if bad else 0


def wrong_profile(tegula, model, size):
    """What is wrong with the work that is counted; for products it is what `tegula info` says."""
    done = subprocess.run([tegula, "run", model, "--dim", size, "--profile", "--json", "--repeat", "2"],
                          stdout=subprocess.PIPE, check=True)
    profile = json.loads(done.stdout)["profile"]
    info = subprocess.run([tegula, "info", model, "--dim", size], stdout=subprocess.PIPE, universal_newlines=True)
    products = 2 * int(re.search(r"multiply-adds +([0-9,]+)", info.stdout)[1].replace(",", ""))
    work = sum(launch["flops"] * launch["calls"] for launch in profile["launches"])
    nodes = [node["operator"] for launch in profile["launches"] for node in launch["nodes"]]
    wrong = []
    if not products < work < 1.2 * products: # and what is done element by element
        wrong.append(f"it counts {work} operations, of which {products} are products")
    if not {"Conv", "Gemm", "MatMul"} & set(nodes):
        wrong.append(f"its nodes are {nodes}")
    return wrong


def test_launches(folder, tegula):
    names = ["bert_layer", "gpt2_decode", "gru", "if_model", "keyword_net", "lstm", "mlp", "mobilenet_block",
             "resnet_stage", "t5_decoder", "unet"]
    make_models(folder, *names, "--small")
    bad = 0
    for name in names:
        model = folder / f"{name}.onnx"
        result = subprocess.run([tegula, "diff", model, "--input-dir", model.with_suffix(".inputs")],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        wrong = [result.stdout] if result.returncode else []
        if name in ("mlp", "resnet_stage"):
            wrong += wrong_profile(tegula, model, "N=3")
        print("; ".join(wrong) or result.stdout.strip())
        bad += bool(wrong)
    return 1 if bad else 0


TESTS = {
    "files": test_files,
    "launches": test_launches,
    "outputs": test_outputs,
    "sizes": test_sizes,
    "threads": test_threads,
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(TESTS[sys.argv[1]](pathlib.Path(temporary), *map(os.path.abspath, sys.argv[2:3]), *sys.argv[3:]))
