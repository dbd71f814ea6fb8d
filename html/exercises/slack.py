# 睡 1 微秒，实际睡多久？把 Linux 给的松弛从 50 微秒调到 1 纳秒，再睡。
# How long does a sleep of 1 µs last? And with Linux's slack lowered from 50 µs to 1 ns?
import ctypes
import statistics
import sys
import time


def median():
    lasted = []
    for _ in range(500):
        began = time.perf_counter()
        time.sleep(1e-6)
        lasted.append(1e6 * (time.perf_counter() - began))
    return statistics.median(lasted)


default = median()
ctypes.CDLL(None).prctl(29, 1)  # PR_SET_TIMERSLACK
lowered = median()
print(f"{default:.1f} µs, {lowered:.1f} µs", file=sys.stderr)
print("shorter with less slack:", lowered < default)
#> shorter with less slack: True
