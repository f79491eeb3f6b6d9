"""Words of a library that are kept, while those of other threads are printed."""

import io
import sys
import threading

from dfghdr_cli.io.prints import kept_from_stdout


def test_only_the_words_of_the_own_thread_are_kept(monkeypatch):
    monkeypatch.setattr(sys, "stdout", real := io.StringIO())
    inside, done = threading.Event(), threading.Event()
    kept = []

    def other():
        with kept_from_stdout() as words:
            sys.stdout.write("b")
            inside.set()
            done.wait(10)
            sys.stdout.write("c")
        kept.extend(words)
        sys.stdout.write("d")

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    sys.stdout.write("a")
    with kept_from_stdout() as words:
        sys.stdout.write("lost")
    assert "".join(words) == "lost"
    sys.stdout.write("e")
    assert sys.stdout is not real
    done.set()
    thread.join()
    assert kept == ["b", "c"]
    assert real.getvalue() == "aed"
    assert sys.stdout is real


def test_what_somebody_else_puts_in_its_place_stays(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    theirs = io.StringIO()
    with kept_from_stdout():
        within, sys.stdout = sys.stdout, theirs
    assert sys.stdout is theirs
    within.write("x")  # as if they gave back what they found
    assert theirs.getvalue() == ""
