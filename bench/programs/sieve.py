n = 1_000_000
sieve = [True] * n
for i in range(2, 1000):
    if sieve[i]:
        for k in range(i * i, n, i):
            sieve[k] = False
print(sum(sieve) - 2)
