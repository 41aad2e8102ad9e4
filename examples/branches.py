"""An agent that tries several continuations of one state at once, and goes on with the best:

    polyagent serve &
    PYTHONPATH=clients/python python3 examples/branches.py [localhost:50051]
"""
import sys
from concurrent.futures import ThreadPoolExecutor

from polyagent import Client

ATTEMPTS = {
    "mean": "guess = sum(points) / len(points)",
    "median": "guess = sorted(points)[len(points) // 2]",
    "endless": "while True: pass",  # an attempt that fails costs nothing but its time
}

with Client(*sys.argv[1:2]) as client, client.session() as session:
    session.run("points = [3, 1, 4, 1, 5, 9, 2, 6, 100]\ndef loss(guess): return sum(abs(p - guess) for p in points)")
    branches = dict(zip(ATTEMPTS, session.fork(len(ATTEMPTS))))

    def attempt(name):
        result = branches[name].run(ATTEMPTS[name] + "\nround(loss(guess), 1)", timeout=0.5)
        return name, float(result.value) if result.value else float("inf")

    with ThreadPoolExecutor() as pool:
        results = dict(pool.map(attempt, ATTEMPTS))
    best = min(results, key=results.get)
    print(results)
    print("best:", best, "guess =", branches[best].run("guess").value)
    for branch in branches.values():
        branch.close()
