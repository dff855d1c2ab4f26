"""Fit the engine model's constants to measurements, and show how well it tells the others.

    python benchmarks/calibrate.py gb10 [--data FILE] [--precision fp8]
    python benchmarks/calibrate.py h100
    python benchmarks/calibrate.py recording FILE --start NAME --fit-on 1,8,32
    ... --check    do not fit: show the errors of the constants in stoker.sim.profiles

A fit is made on the half that is named and its errors are shown on both halves; for `gb10`, then
once more on everything. The printed profile is what to write into `stoker.sim.profiles`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from calibration import beyond, closed_loop, open_loop
from calibration.figures import Figures
from calibration.fit import (
    EXPERTS,
    EXPONENT,
    PREFILL_STEP,
    STEP,
    Case,
    errors,
    fit,
    mean_absolute,
)

from stoker.sim import profiles
from stoker.sim.profiles import EngineProfile

GB10_FIT_ON = ("08", "10", "11-rate-sweep-0.1", "11-rate-sweep-0.3", "11-rate-sweep-0.7")
GB10 = {"fp8": profiles.GB10_FP8, "nvfp4": profiles.GB10_NVFP4, "bf16": profiles.GB10_BF16}
# Where the fits begin: by eye, not from the constants that earlier fits found.
GB10_GUESS = {
    "step_base_s": 0.016, "step_slope_s": 0.0008, "prefill_token_s": 2e-4, "experts_s": 0.1,
    "front_s": 0.01,
}  # fmt: skip
H100_GUESS = {
    "step_base_s": 0.005, "step_slope_s": 2e-5, "prefill_token_s": 1.4e-5, "experts_s": 0.01,
    "prefill_step_s": 0.09, "front_s": 0.006,
}  # fmt: skip
DENSE = EngineProfile(
    "dense", step_base_s=0.02, step_slope_s=0.003, step_exponent=0.9, context_token_s=0.0,
    prefill_token_s=0.0005, front_s=0.005, steps_ahead=1,
)  # fmt: skip
"""Where the fit of an engine begins that nothing is known about."""
DATA = Path(__file__).parent / "data"
H100 = (
    (DATA / "h100_moe_30b_graph_prefill.csv", "graphs", profiles.H100_MOE, (1, 32, 96)),
    (DATA / "h100_moe_30b_default.csv", "default", profiles.H100_MOE_DEFAULT, (1, 8, 32, 64, 128)),
)


def main() -> None:
    options = parsed()
    if options.what == "gb10":
        for precision in options.precision.split(","):
            gb10(options, precision)
    elif options.what == "h100":
        h100(options)
    else:
        recording(options)


def calibrate(
    points: Sequence[closed_loop.Point], start: EngineProfile, times: closed_loop.Times
) -> EngineProfile:
    """Fit a recorded closed loop. `start` says what the engine can hold, and where to begin."""
    shape = EXPERTS if start.experts_s else EXPONENT
    free = (*STEP, shape, *((PREFILL_STEP,) if start.prefill_step_s else ()))
    return fit(points, partial(closed_loop.simulate, times=times), start, free)


def gb10(options: argparse.Namespace, precision: str) -> None:
    tests = [one for one in open_loop.read_tests(options.data) if one.precision == precision]
    half = [one for one in tests if one.name.startswith(GB10_FIT_ON)]
    start = replace(GB10[precision], has_prefix_cache=False)  # as it was measured
    guess = replace(start, **GB10_GUESS)
    show = partial(open_loop.simulate, seeds=4)
    if options.check:
        table(f"{start.name}, as written down", tests, show, start)
        return
    for what, cases in (("half", half), ("everything", tests)):
        found = fit(cases, open_loop.simulate, guess, (*STEP, EXPERTS))
        table(f"{start.name}, fitted on {what}", tests, show, found, fitted=cases)


def h100(options: argparse.Namespace) -> None:
    """One engine, recorded with two sets of CUDA graphs: one set of constants."""
    times = closed_loop.Times(warm_up_s=6.0, window_s=22.0)
    points, half = [], []
    for path, server, profile, fit_on in H100:
        read = closed_loop.read_points(path, server, profile.capture_sizes)
        points += read
        half += [one for one in read if one.callers in fit_on]
    found = profiles.H100_MOE
    if not options.check:
        found = calibrate(half, replace(found, **H100_GUESS), times)
    show = partial(closed_loop.simulate, times=times, seeds=8)
    table("h100", points, show, found, fitted=half)
    for kind in (beyond.Interactive, beyond.Agents):
        cases = [one for one in beyond.H100_GRAPHS if isinstance(one, kind)]
        table(f"h100, {kind.__name__.lower()}", cases, beyond.simulate, found)


def recording(options: argparse.Namespace) -> None:
    points = closed_loop.read_points(options.file)
    times = closed_loop.Times(options.warm_up_s, options.window_s)
    start = named(options.start)
    facts = {"requests": options.requests, "kv_tokens": options.kv_tokens,
             "prefill_tokens_per_step": options.step_tokens}  # fmt: skip
    start = replace(start, **{name: value for name, value in facts.items() if value is not None})
    show = partial(closed_loop.simulate, times=times, seeds=8)
    if options.check:
        table(f"{start.name}, as written down", points, show, start)
        return
    chosen = [int(number) for number in options.fit_on.split(",") if number]
    half = [one for one in points if one.callers in chosen] if chosen else points[::2]
    table(f"{start.name}, fitted on half", points, show, calibrate(half, start, times), fitted=half)


def table(
    title: str,
    cases: Sequence[Case],
    simulate: Callable[[EngineProfile, Case], Figures],
    profile: EngineProfile,
    *,
    fitted: Sequence[Case] = (),
) -> None:
    """Print the constants, and by how many percent the model is off."""
    print(f"\n### {title}\n")
    for field in fields(profile):
        print(f"    {field.name}={getattr(profile, field.name)!r},")
    found = errors(cases, simulate, profile)
    names = list(max((case.measured for case in cases), key=len))
    print(f"\n| case | {' | '.join(names)} | |\n|---|{'--:|' * len(names)}---|")
    for case in cases:
        row = found[case.name]
        shown = " | ".join(f"{100 * row[name]:+.1f} %" if name in row else "–" for name in names)
        print(f"| {case.name} | {shown} | {'fitted' if case in fitted else ''} |")
    parts = {"fitted": fitted, "predicted": [case for case in cases if case not in fitted]}
    for part, members in parts.items():
        if members:
            rows = {case.name: found[case.name] for case in members}
            shown = " | ".join(f"{100 * mean_absolute(rows, name):.1f} %" for name in names)
            print(f"| mean of {part} | {shown} | |")


def named(name: str) -> EngineProfile:
    every = (DENSE, *(one for one in vars(profiles).values() if isinstance(one, EngineProfile)))
    known = {one.name: one for one in every}
    if name not in known:
        raise SystemExit(f"no profile {name}; there are: {', '.join(sorted(known))}")
    return known[name]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("gb10")
    one.add_argument("--data", type=Path, default=Path("../shared/data/gb10_qwen36_35b_a3b.csv"))
    one.add_argument("--precision", default="fp8,nvfp4,bf16")
    one.add_argument("--check", action="store_true")
    one = commands.add_parser("h100")
    one.add_argument("--check", action="store_true")
    one = commands.add_parser("recording")
    one.add_argument("file", type=Path)
    one.add_argument("--start", default="dense", help="the profile to begin with")
    one.add_argument("--fit-on", default="", help="the N that are fitted (default: every other)")
    one.add_argument("--warm-up-s", type=float, default=8.0)
    one.add_argument("--window-s", type=float, default=20.0)
    one.add_argument("--requests", type=int, help="sequences that the engine runs at once")
    one.add_argument("--kv-tokens", type=int)
    one.add_argument("--step-tokens", type=int, help="max_num_batched_tokens")
    one.add_argument("--check", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
