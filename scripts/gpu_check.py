"""The checks of scripts/gpu_check.sh."""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/gpu_check.sh")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--module", default="")
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path("configs/models/opt-6.7b"))
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--device-memory", default="4GiB")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--scratch", default=None, help="folder on the disk that is to be read")
    parser.add_argument("-o", "--output", default="gpu_check")
    return parser.parse_args()


class Checks:
    def __init__(self, arguments, scratch):
        self.arguments = arguments
        self.scratch = pathlib.Path(scratch)
        self.command = [str(arguments.build / "zerostream")]
        self.on_gpu = ["--set", "device.type=cuda"]
        if arguments.module:
            self.on_gpu += ["--set", f"device.module={pathlib.Path(arguments.module).resolve()}"]

    def kernels(self):
        program = self.arguments.build / ("gpu_test" if self.arguments.module else "gpu_hardware_test")
        run = subprocess.run([program], capture_output=True, text=True)
        counts = {word: int(found.group(1)) if (found := re.search(rf"\[\s*{word}\s*\] (\d+) test", run.stdout)) else 0
                  for word in ("PASSED", "FAILED", "SKIPPED")}
        return {"passed": run.returncode == 0 and counts["SKIPPED"] == 0 and counts["PASSED"] > 0,
                "program": program.name, **{word.lower() + "_tests": n for word, n in counts.items()}}

    def selftest(self):
        flags = ["--module", self.arguments.module] if self.arguments.module else []
        run = subprocess.run(self.command + ["selftest", "--device", "cuda", "--json",
                                             "--directory", str(self.scratch)] + flags,
                             capture_output=True, text=True)
        return json.loads(run.stdout) if run.stdout else {"passed": False, "problem": run.stderr.strip()}

    def probe(self):
        flags = ["--module", self.arguments.module] if self.arguments.module else []
        profile = self.arguments.output + ".profile.yaml"
        run = subprocess.run(self.command + ["probe", "--device", "cuda", "-o", profile] + flags,
                             capture_output=True, text=True)
        return {"passed": run.returncode == 0, "profile": profile, "problem": run.stderr.strip()}

    def run(self, name, rows, settings):
        files = {key: self.scratch / f"{name}.{key}" for key in ("in.jsonl", "out.jsonl", "report.json")}
        files["in.jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = self.command + ["run", "--input", files["in.jsonl"], "--output", files["out.jsonl"],
                                    "--quiet", "--set", f"job.report={files['report.json']}"] + self.on_gpu
        for setting in settings:
            arguments += ["--set", setting]
        run = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
        if run.returncode != 0:
            return None, None, run.stderr.strip()
        lines = [json.loads(line) for line in files["out.jsonl"].read_text().splitlines()]
        return sorted(lines, key=lambda line: line["index"]), json.loads(files["report.json"].read_text()), ""

    def golden(self):
        wrong, models = [], 0
        for folder in sorted(pathlib.Path("tests/golden").iterdir()):
            if not (folder / "config.json").exists() or not (folder / "expected.json").exists():
                continue
            cases = json.loads((folder / "expected.json").read_text())["cases"]
            rows = [{"prompt_token_ids": case["token_ids"], "max_tokens": len(case["generated"]), "ignore_eos": True}
                    for case in cases]
            lines, _, problem = self.run(folder.name, rows, [
                f"model.path={folder.resolve()}", f"model.store={self.scratch / folder.name}", "weights.dtype=fp32",
                "weights.placement={device: 30%, host: 30%, nvme: rest}", "device.memory=256MiB",
                "batch.max_sequences=8", "batch.token_budget=64"])
            models += 1
            if lines is None or any(line["token_ids"] != case["generated"] for line, case in zip(lines, cases)):
                wrong.append({"model": folder.name, "problem": problem or "other tokens"})
        return {"passed": models > 0 and not wrong, "models": models, "wrong": wrong}

    def streaming(self):
        store = self.scratch / "streamed"
        subprocess.run(self.command + ["pack", str(self.arguments.model), "-o", str(store), "--dummy-weights",
                                       "--dtype", self.arguments.dtype], check=True, capture_output=True)
        rows = [{"prompt_token_ids": [5 + i % 50] * 8, "max_tokens": self.arguments.new_tokens, "ignore_eos": True}
                for i in range(self.arguments.rows)]
        results = []
        for tier, kv in (("host", "device"), ("nvme", "device"), ("host", "host"), ("nvme", "nvme")):
            name = f"weights from {tier}, keys and values on {kv}"
            _, report, problem = self.run(f"streaming-{tier}-{kv}", rows, [
                f"model.path={store}", f"weights.placement={tier}", f"kv_cache.placement={kv}",
                f"device.memory={self.arguments.device_memory}",
                f"batch.max_sequences={self.arguments.rows}", f"batch.token_budget={max(self.arguments.rows, 64)}"])
            if report is None:
                results.append({"name": name, "passed": False, "problem": problem})
                continue
            seconds = report["seconds"]["prefill"] + report["seconds"]["decode"]
            passes = report["passes"]["prefill"] + report["passes"]["decode"]
            streamed = report["weights"]["streamed_bytes_per_pass"] * passes
            results.append({"name": name, "passed": report["rows"]["failed"] == 0,
                            "gigabytes_per_second": streamed / seconds / 1e9,
                            "tokens_per_second": report["tokens_per_second"]["generated"],
                            "stall_share": report["stall_seconds"]["weights"] / seconds})
        return results


def table(result):
    selftest = result["selftest"]
    lines = [f"# {selftest.get('device', 'no GPU')}", "", "| check | result |", "|---|---|",
             f"| kernel tests | {'passed' if result['kernels']['passed'] else 'FAILED'}, "
             f"{result['kernels']['passed_tests']} of {result['kernels']['program']} |",
             f"| selftest | {'passed' if selftest['passed'] else 'FAILED'} |",
             f"| profile of this machine | {result['probe']['profile'] if result['probe']['passed'] else 'FAILED'} |",
             f"| golden models | {'passed' if result['golden']['passed'] else 'FAILED'}, {result['golden']['models']} |"]
    lines += [f"| {name} | {rate / 1e9:.3g} GB/s |" for name, rate in selftest.get("bytes_per_second", {}).items()]
    lines += [f"| {kernel['name']} | {kernel['flops_per_second'] / 1e12:.3g} TFLOP/s, "
              f"{100 * kernel['share_of_arithmetic']:.0f} % of the best product |"
              for kernel in selftest.get("kernels", []) if kernel["name"].endswith("2048 rows")]
    pinned = selftest.get("bytes_per_second", {}).get("pinned to device", 0)
    for run in result["streaming"]:
        if run["passed"]:
            share = f", {100e9 * run['gigabytes_per_second'] / pinned:.0f} % of pinned copies" if pinned else ""
            lines.append(f"| {run['name']} | {run['gigabytes_per_second']:.3g} GB/s{share}; "
                         f"{run['tokens_per_second']:.3g} tokens/s |")
        else:
            lines.append(f"| {run['name']} | FAILED: {run.get('problem', '')} |")
    return "\n".join(lines) + "\n"


def main():
    arguments = parse_arguments()
    start = time.time()
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="gpu_check-") as scratch:
        checks = Checks(arguments, scratch)
        result = {}
        for name in ("kernels", "selftest", "probe", "golden", "streaming"):
            print(f"gpu_check: {name}", file=sys.stderr)
            result[name] = getattr(checks, name)()
    result["seconds"] = time.time() - start
    pathlib.Path(arguments.output + ".json").write_text(json.dumps(result, indent=2) + "\n")
    text = table(result)
    pathlib.Path(arguments.output + ".md").write_text(text)
    print(text, end="")
    parts = [result[name] for name in ("kernels", "selftest", "probe", "golden")] + result["streaming"]
    return 0 if all(part["passed"] for part in parts) else 6


sys.exit(main())
