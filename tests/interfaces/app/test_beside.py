"""Work in a thread: news in order, the result, errors, and its end when nobody listens."""

from __future__ import annotations

import threading

import pytest

from conceptseg.interfaces.app.beside import beside


def collect(generator):
    news = []
    while True:
        try:
            news.append(next(generator))
        except StopIteration as end:
            return news, end.value


def test_news_come_in_order_and_the_result_last():
    def work(tell):
        for number in range(3):
            tell(number)
        return "done"

    assert collect(beside(work)) == ([0, 1, 2], "done")


def test_what_the_work_raises_is_raised_here():
    def work(tell):
        tell("begun")
        raise ValueError("no")

    generator = beside(work)
    assert next(generator) == "begun"
    with pytest.raises(ValueError, match="no"):
        next(generator)


def test_work_ends_when_nobody_listens():
    went_on, ended = [], threading.Event()
    may_go_on = threading.Event()

    def work(tell):
        try:
            tell("begun")
            assert may_go_on.wait(20)
            tell("more")
            went_on.append(True)
        finally:
            ended.set()

    generator = beside(work)
    assert next(generator) == "begun"
    generator.close()
    may_go_on.set()
    assert ended.wait(20) and went_on == []
