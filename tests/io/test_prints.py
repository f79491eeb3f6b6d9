"""Words of a library that are kept, while those of other threads are printed."""

import io
import sys
import threading

from dfghdr_cli.io.prints import kept_from_stdout


def test_only_the_words_of_the_own_thread_are_kept(monkeypatch):
    monkeypatch.setattr(sys, "stdout", real := io.StringIO())
    inside, done = threading.Event(), threading.Event()

    def other():
        with kept_from_stdout() as words:
            print("b")
            inside.set()
            done.wait(10)
            print("c")
        assert words == ["b", "\n", "c", "\n"]
        print("d")

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    print("a")
    with kept_from_stdout() as words:
        print("lost")
    assert "".join(words) == "lost\n"
    print("e", file=sys.stdout)
    assert sys.stdout is not real
    done.set()
    thread.join()
    assert real.getvalue() == "a\ne\nd\n"
    assert sys.stdout is real


def test_what_somebody_else_puts_in_its_place_stays(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    theirs = io.StringIO()
    with kept_from_stdout():
        within, sys.stdout = sys.stdout, theirs
    assert sys.stdout is theirs
    print("x", file=within)  # as if they gave back what they found
    assert theirs.getvalue() == ""
