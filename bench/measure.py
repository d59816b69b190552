"""Builds the C helpers, checks and times one benchmark row, prints the table."""

import ctypes
import dataclasses
import functools
import json
import os
import platform
import select
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import openvino_peer
import peers
import suites
import tegula
from row import spoil

CHECK_SECONDS = 60  # a first call that takes longer is an error
SETTLE_SECONDS = 0.05  # between blocks: until the worker threads of the last one have stopped spinning
NOISY_SPREAD = 0.15  # of a median: such rows are marked


class RowError(Exception):
    """A row cannot be measured; the message goes into its result."""


# What every row of the JSON says, null where it is not known: of an error, and of tegula with --peers-only.
FIELDS = (
    "peer ratio flops bytes compile_ms error_of_maximum tegula_ms tegula_min_ms peer_ms peer_min_ms limit limit_rate "
    "limit_ms fraction_of_limit peer_fraction_of_limit unit tegula_rate peer_rate peers_ms beside peer_call_cost_ms spread "
    "openvino_ms openvino_ratio openvino_error"
).split()


class Session:
    """One run of the harness: the limits of the machine, the peers' call cost, and the rows measured beside them."""

    def __init__(self, root, threads, quick, peers_only):
        self.root, self.threads, self.quick, self.peers_only = root, threads, quick, peers_only
        self.rounds, self.block_ns = (5, 5e6) if quick else (21, 30e6)
        self.cache = root / "build/bench"
        self.cache.mkdir(parents=True, exist_ok=True)
        self.library = tegula.Library(root)
        self.limits_program = self.build("limits", "-pthread", "-DLIMITS_PROGRAM")
        self.limits_rate = ctypes.CDLL(str(self.build("limits.so", "-pthread", "-shared", "-fPIC"))).limits_rate
        self.limits_rate.restype = ctypes.c_double
        self.timer = ctypes.CDLL(str(self.build("timer.so", "-shared", "-fPIC"))).timer_run
        self.timer.restype = ctypes.c_double
        self.ticks_before = cpu_ticks()
        self.limits = self.measure_limits()
        self.idle_peer = peers.Peer(peers.identity_model(), threads)
        self.idle_openvino = openvino_peer.VERSION and openvino_peer.Peer(peers.identity_model(), threads)

    def build(self, name, *flags):
        """Builds bench/NAME.c in the cache folder."""
        source, target = self.root / "bench" / (name.split(".")[0] + ".c"), self.cache / name
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            compiler = os.environ.get("CC", "cc").split()
            command = [*compiler, "-std=gnu17", "-O2", "-ffp-contract=fast", *flags, str(source), "-o", str(target)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"bench/run: {' '.join(command)}\n{done.stderr}")
        return target

    def measure_limits(self):
        done = subprocess.run([str(self.limits_program), str(self.threads)], capture_output=True, text=True, check=True)
        limits = json.loads(done.stdout)
        return {**limits, "copy": max(limits["copy_plain"], limits["copy_nontemporal"])}

    def environment(self):
        """What a reader needs to judge the rows."""
        stolen, others, total = (after - before for after, before in zip(cpu_ticks(), self.ticks_before))
        noise = {
            "stolen_percent": round(100 * stolen / total, 1),
            "others_percent": round(max(0, 100 * others / total), 1),
        }
        return {
            "machine": {
                "cpu": cpu_name(),
                "cores": os.cpu_count(),
                "affinity": sorted(os.sched_getaffinity(0)),
                **noise,
            },
            "versions": {
                "python": platform.python_version(),
                "peer": peers.VERSION,
                "openvino": openvino_peer.VERSION,
            },
            "quick": self.quick,
            "threads": self.threads,
            "limits": self.limits,
        }

    def limit_of(self, benchmark):
        """The roofline of a row: the slower of its arithmetic at peak and its bytes at the copy speed of their level.

        Gives (name of the limit, flops or bytes of one call).
        """
        limits, footprint = self.limits, benchmark.bytes / self.threads
        in_l2, in_l3 = footprint <= limits["l2_bytes"], footprint <= min(limits["l3_bytes"], 64e6)
        level = "l2_copy" if in_l2 else "l3_copy" if in_l3 else "copy"
        work = {"fma": benchmark.flops, level: benchmark.bytes}
        return max(work.items(), key=lambda item: item[1] / limits[item[0]])

    def limit_timer(self, limit, work):
        """Like a side's time_calls, for the limit itself: the clock of a shared machine moves from row to row."""
        fastest = limit if limit != "copy" else max("copy_plain", "copy_nontemporal", key=self.limits.get)
        return lambda calls, warm=0: work / self.limits_rate(fastest.encode(), self.threads, 1)

    def run(self, benchmark):
        """The result of one row, without name and suite: FIELDS; beside them "error", a message, if there is none."""
        result = {"threads": self.threads, **dict.fromkeys(FIELDS)}
        try:
            return result | self.measure(benchmark)
        except tegula.TegulaError as error:
            return result | {"error": f"tegula: {error}"}
        except RowError as error:
            return result | {"error": str(error)}

    def measure(self, benchmark):
        for field, value in benchmark.late().items() if benchmark.late else ():
            setattr(benchmark, field, value)
        operands = benchmark.operands()
        inputs = list(operands)[: -benchmark.outputs]
        expected = benchmark.reference(*(operands[name].astype(np.float64) for name in inputs))
        expected = expected if isinstance(expected, list) else [expected]
        result = {"flops": benchmark.flops, "bytes": benchmark.bytes}
        sides = []
        try:
            result |= self.measure_sides(benchmark, operands, expected, sides)
            assert result.keys() <= set(FIELDS), result.keys() - set(FIELDS)
            return result
        finally:
            for side in sides:
                side.close()

    def measure_sides(self, benchmark, operands, expected, sides):
        """What was measured. tegula's sides are appended to `sides`, to be closed."""
        result, timed = {}, {}  # timed: name -> calls -> nanoseconds per call
        if not self.peers_only:
            for name, make in self.tegula_sides(benchmark, operands, result).items():
                outputs = list(operands.values())[-benchmark.outputs :]
                error = check_in_child(make, outputs, expected, benchmark.tolerance)
                sides.append(make())
                if name == "tegula":
                    result["error_of_maximum"] = error
                    result.setdefault("compile_ms", getattr(sides[-1], "compile_ms", None))
                timed[name] = sides[-1].time_calls
        for name, model in benchmark.peers.items():
            try:
                peer = peers.Peer(model(operands), self.threads)
                compare(name, peer.call(), expected, max(benchmark.tolerance, 1e-5))
            except Exception as error:  # the peer's exceptions share no narrower class
                raise RowError(f"{name}: {error}") from error
            timed[name] = peer.time_calls
        openvino_error = self.add_openvino(benchmark, operands, expected, timed)

        limit, work = self.limit_of(benchmark)
        timed["limit"], timed["call"] = self.limit_timer(limit, work), self.idle_peer.time_calls
        times, least_times, spreads = self.alternate(timed)
        all_peers = {name: times[name] - times["call"] for name in benchmark.peers}
        best = min(all_peers, key=all_peers.get)
        ours, peer, least = times.get("tegula"), all_peers[best], times["limit"]
        openvino = times["openvino"] - times["openvino call"] if "openvino" in times else None
        return result | {
            "peer": best,
            "ratio": ours and peer / ours,
            "tegula_ms": ours,
            "tegula_min_ms": least_times.get("tegula"),
            "peer_ms": peer,
            "peer_min_ms": least_times[best] - times["call"],
            "limit": limit,
            "limit_rate": work / least * 1e-6,
            "limit_ms": least,
            "fraction_of_limit": ours and least / ours,
            "peer_fraction_of_limit": least / peer,
            "unit": "GFLOP/s" if benchmark.flops else "GB/s",
            "tegula_rate": ours and (benchmark.flops or benchmark.bytes) / ours * 1e-6,
            "peer_rate": (benchmark.flops or benchmark.bytes) / peer * 1e-6,
            "peers_ms": all_peers,
            "beside": {name: {"ms": times[name], "ratio": ours / times[name]} for name in benchmark.beside if ours},
            "openvino_ms": openvino,
            "openvino_ratio": ours and openvino and openvino / ours,
            "openvino_error": openvino_error,
            "peer_call_cost_ms": times["call"],
            "spread": spreads,
        }

    def add_openvino(self, benchmark, operands, expected, timed):
        """Times OpenVINO too, where the row wants it and it is installed. A message if it cannot run the model."""
        if not benchmark.openvino or not openvino_peer.VERSION:
            return None
        try:
            peer = openvino_peer.Peer(benchmark.openvino(operands), self.threads)
            compare("openvino", peer.call(), expected, max(benchmark.tolerance, 1e-4))
        except Exception as error:  # its exceptions share no narrower class
            return f"openvino: {str(error).strip().splitlines()[0]}"
        timed |= {"openvino": peer.time_calls, "openvino call": self.idle_openvino.time_calls}
        return None

    def tegula_sides(self, benchmark, operands, result):
        """name -> () -> tegula.Side. Kernels are compiled here, models when their side is made."""
        build = self.library, self.timer, self.threads
        if benchmark.tile:
            source, target = self.root / f"examples/kernels/{benchmark.tile}.tile", self.cache / f"{benchmark.name}.so"
            start = time.perf_counter()
            self.library.compile_kernel(source, benchmark.defines, target)
            result["compile_ms"] = 1e3 * (time.perf_counter() - start)
            arguments = [*operands.values(), *benchmark.dims.values()]
            return {"tegula": lambda: tegula.Kernel(*build, target, benchmark.tile, arguments)}
        made = {}
        for name, model in {"tegula": benchmark.model, **benchmark.beside}.items():
            model = model(operands)
            path = self.cache / f"{benchmark.name if name == 'tegula' else name}.onnx"
            path.write_bytes(model.bytes)
            sides = [[operands[key] for key in names] for names in (model.inputs, model.outputs)]
            made[name] = functools.partial(tegula.Model, *build, path, *sides)
        return made

    def alternate(self, timed):
        """Medians and minima over alternating blocks, in ms, and their spreads (interquartile range by median)."""
        calls, samples = {}, {name: [] for name in timed}
        for name, time_calls in timed.items():
            time_calls(1)
            calls[name] = max(1, round(self.block_ns / min(time_calls(3), time_calls(3))))
        for turn in range(self.rounds):
            for name in list(timed)[:: 1 if turn % 2 else -1]:  # neither side always follows the other
                if self.threads > 1:
                    time.sleep(SETTLE_SECONDS)
                warm = 1 + calls[name] // 4 if self.threads > 1 else 0  # until the threads are awake, on a core each
                samples[name].append(timed[name](calls[name], warm) * 1e-6)
        medians = {name: statistics.median(values) for name, values in samples.items()}
        quarters = {name: statistics.quantiles(values, n=4) for name, values in samples.items()}
        minima = {name: min(values) for name, values in samples.items()}
        return medians, minima, {name: (q[2] - q[0]) / medians[name] for name, q in quarters.items()}


def compare(name, outputs, expected, tolerance):
    """The largest error relative to the largest expected magnitude of its output; RowError above the tolerance."""
    pairs = zip(outputs, expected, strict=True)
    errors = [float(np.max(np.abs(have - want)) / np.max(np.abs(want))) for have, want in pairs]
    for i, error in enumerate(errors):
        if not error <= tolerance:  # a NaN is above every tolerance
            which = f"result {i}" if len(errors) > 1 else "result"
            raise RowError(f"{name}: wrong {which}: error {error:.2g} of the maximum, tolerance {tolerance:.2g}")
    return max(errors)


def check_in_child(make, outputs, expected, tolerance):
    """Makes a side of tegula and calls it once, in a child process: a crash or a hang costs its row, not the run."""
    reader, writer = os.pipe()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            for output in outputs:
                spoil(output)
            make().time_calls(1)
            message = json.dumps({"value": compare("tegula", outputs, expected, tolerance)})
        except tegula.TegulaError as error:
            message = json.dumps({"error": f"tegula: {error}"})
        except Exception as error:
            message = json.dumps({"error": str(error)})
        os.write(writer, message.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answers:
        ready = select.select([answers], [], [], CHECK_SECONDS)[0]
        if not ready:
            os.kill(child, signal.SIGKILL)
        answer = answers.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not answer:
        died = f"died of {signal.Signals(-status).name}" if status < 0 else "ended its process"
        raise RowError(f"tegula: it {died if ready else f'took more than {CHECK_SECONDS} s'}")
    answer = json.loads(answer)
    if "error" in answer:
        raise RowError(answer["error"])
    return answer["value"]


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def cpu_ticks():
    """Ticks since boot over all cores: stolen by other guests of the host, used by other processes here, and all."""
    counts = [int(count) for count in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    _, _, _, idle, wait, *_, stolen = counts
    ours = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
    return stolen, sum(counts) - idle - wait - stolen - ours, sum(counts)


def judge(suite, name, row):
    """The row with its target, {"text": what is asked, "short": what falls short, in words}; None: it has none."""
    target = suites.target_of(suite, name)
    if target is None or row.get("tegula_ms") is None:
        return row | {"target": None}
    asked, short = target.judge(row)
    return row | {"target": dataclasses.asdict(target) | {"text": ", ".join(asked), "short": short}}


def target_text(target):
    if target is None:
        return "-"
    return "SHORT " + ", ".join(target["short"]) if target["short"] else f"met: {target['text']}"


def summaries(rows):
    """suite -> the geometric mean of the ratios, and how many rows reach their target."""
    result = {}
    for suite in dict.fromkeys(row["suite"] for row in rows):
        ours = [row for row in rows if row["suite"] == suite]
        ratios = [row["ratio"] for row in ours if row.get("ratio")]
        targets = [row["target"] for row in ours if row.get("target")]
        result[suite] = {
            "rows": len(ours),
            "errors": sum("error" in row for row in ours),
            "geometric_mean": statistics.geometric_mean(ratios) if ratios else None,
            "targets": len(targets),
            "targets_met": sum(not target["short"] for target in targets),
        }
    return result


def means(rows):
    """pattern of suites.MEANS -> how many rows it has, the geometric mean of their ratios, and what that should be."""
    result = {}
    for pattern, least in suites.MEANS.items():
        ratios = [row["ratio"] for row in rows if row.get("ratio") and suites.fits(pattern, row["suite"], row["name"])]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            result[pattern] = {"rows": len(ratios), "geometric_mean": mean, "target": least, "met": mean >= least}
    return result


def mean_text(pattern, mean):
    text = f"{pattern}: {mean['rows']} rows, geometric mean of the ratios "
    if mean["met"]:
        return text + f"{mean['geometric_mean']:.2f}, met: {mean['target']:g}"
    return text + f"SHORT {mean['geometric_mean']:.3f} < {mean['target']:g}"


def summary_text(suite, summary):
    mean = summary["geometric_mean"]
    text = f"{suite}: {summary['rows']} rows"
    if mean is not None:
        text += f", geometric mean of the ratios {mean:.2f}"
    if summary["targets"]:
        text += f", {summary['targets_met']} of {summary['targets']} targets met"
    return text + (f", {summary['errors']} errors" if summary["errors"] else "")


def print_table(rows, environment):
    limits, machine = environment["limits"], environment["machine"]
    print(f"{machine['cpu']}, {limits['isa']}, {environment['threads']} thread(s), {environment['versions']['peer']}")
    print(
        "limits: f32 FMA {fma:.0f} GFLOP/s; GB/s read L2 {l2_read:.0f} L3 {l3_read:.1f} memory {memory_read:.1f}; "
        "copy L2 {l2_copy:.0f} L3 {l3_copy:.1f} memory {copy:.1f} "
        "(plain {copy_plain:.1f}, memcpy {memcpy:.1f})".format(**limits)
    )
    if machine["others_percent"] > 5 or machine["stolen_percent"] > 1:
        print("NOISY: of all cores, others took {others_percent} %, the host {stolen_percent} %".format(**machine))
    if environment["quick"]:
        print("QUICK: a smoke test; do not quote these figures")
    shape = "{:<30} {:>11} {:>11} {:>7} {:>9} {:>9} {:>14}  {:<44} {}"
    heads = ("name", "tegula ms", "peer ms", "ratio", "of limit", "peer's", "rate", "target", "limit; peer")
    print("\n" + shape.format(*heads))

    def show(value, form):
        return "-" if value is None else format(value, form)

    for row in rows:
        if "error" in row:
            print(f"{row['name']:<30} error: {row['error']}")
            continue
        rate = row["tegula_rate"] if row["tegula_rate"] is not None else row["peer_rate"]
        beside = "".join(f"; {other['ratio']:.2f} x {name}" for name, other in row["beside"].items())
        if row["openvino_ratio"]:
            beside += f"; openvino {row['openvino_ratio']:.2f}"
        if row["openvino_error"]:
            beside += f"; {row['openvino_error']}"
        noisy = "; noisy" if max(row["spread"].values()) > NOISY_SPREAD else ""
        print(
            shape.format(
                row["name"],
                show(row["tegula_ms"], ".4f"),
                show(row["peer_ms"], ".4f"),
                show(row["ratio"], ".2f"),
                show(row["fraction_of_limit"], ".0%"),
                show(row["peer_fraction_of_limit"], ".0%"),
                f"{rate:.1f} {row['unit']}",
                target_text(row["target"]),
                f"{row['limit']} {row['limit_rate']:.1f}; {row['peer']}{beside}{noisy}",
            )
        )
    for suite, summary in summaries(rows).items():
        print(summary_text(suite, summary))
    for pattern, mean in means(rows).items():
        print(mean_text(pattern, mean))
