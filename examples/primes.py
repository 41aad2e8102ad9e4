"""The primes below a number, by Eratosthenes' sieve."""
import sys

limit = int(sys.argv[1]) if len(sys.argv) > 1 else 50
sieve = bytearray([1]) * limit
for n in range(2, int(limit**0.5) + 1):
    if sieve[n]:
        sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
print([n for n in range(2, limit) if sieve[n]])
