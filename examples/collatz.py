"""The longest Collatz sequence that begins below a bound (300,000, or the first argument)."""
import sys


def steps(n):
    count = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count


bound = int(sys.argv[1]) if len(sys.argv) > 1 else 300000
best = max(range(1, bound), key=steps)
print(f"{best} takes {steps(best)} steps")
