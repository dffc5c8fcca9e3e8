"""Programs import Keras faster, and less of it; who imports kinoflow has all of Keras."""

import json
import subprocess
import sys

LOADED = "[name for name in ('IPython', 'matplotlib', 'sklearn') if name in sys.modules]"


def told(code: str) -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_program_starts_keras_without_them_and_may_use_them_itself() -> None:
    code = f"""
import json, sys, numpy
from kinoflow.system import errors

def main():
    import keras
    print(json.dumps({LOADED}))
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(numpy.ones((1, 1)), numpy.ones((1, 1)), verbose=0)
    print(json.dumps({LOADED}))
    import matplotlib.pyplot
    from sklearn.metrics import confusion_matrix
    assert confusion_matrix([0, 1], [0, 1]).tolist() == [[1, 0], [0, 1]]
    print(json.dumps({LOADED}))

errors.run(main)
"""
    assert told(code) == [[], [], ["matplotlib", "sklearn"]]


def test_a_program_does_not_collect_garbage_while_it_imports_keras_but_does_so_after() -> None:
    code = """
import gc, json
from kinoflow.system import errors

def main():
    collections = []
    gc.callbacks.append(lambda phase, info: collections.append(phase))
    import keras
    during = len(collections)
    assert gc.isenabled()
    print(json.dumps(["collected"] * during))
    lost = [[[]] for _ in range(2000)]
    assert len(collections) > during

errors.run(main)
"""
    assert told(code) == [[]]


def test_a_user_of_the_library_has_all_of_keras() -> None:
    code = f"""
import json, sys
import kinoflow, kinoflow.system.errors
import keras
print(json.dumps({LOADED}))
keras.wrappers.SKLearnClassifier
"""
    assert {"matplotlib", "sklearn"} <= {*told(code)[0]}
