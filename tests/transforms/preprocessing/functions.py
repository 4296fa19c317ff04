"""Functions that a job could apply, good and bad ones."""

from typing import Any

import numpy as np
import pandas as pd


class Unnameable(Exception):
    """An error of the user's own."""


def add_double(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(double=frame["i"] * 2)


def keep(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


def fail_on_three(frame: pd.DataFrame) -> pd.DataFrame:
    if (frame["i"] == 3).any():
        raise Unnameable("three")
    return frame.assign(seen=True)


def infinite_on_three(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(f=frame["f"].where(frame["i"] != 3, np.inf))


def nul_on_three(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(s=["a\0b" if value == 3 else "ab" for value in frame["i"]])


def far_on_three(frame: pd.DataFrame) -> pd.DataFrame:
    micros = np.where(frame["i"].fillna(0) == 3, 3 * 10**17, 0).astype("datetime64[us]")
    return frame.assign(t=pd.Series(micros, index=frame.index).dt.tz_localize("UTC"))


def two_on_three(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(b=frame["i"].fillna(0).map(lambda value: 2 if value == 3 else 1).astype("int64"))


def half_on_three(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(i=frame["i"].astype("float64").where(frame["i"] != 3, 3.5))


def texts_on_three(frame: pd.DataFrame) -> pd.DataFrame:
    values: list[Any] = [None if value is pd.NA else "x" if value == 3 else value for value in frame["i"]]
    return frame.assign(f=values)


def nulls(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(i=None, f=None, s=None, b=None, t=pd.NaT)  # type: ignore[arg-type]  # the stubs of pandas leave NaT out


def naive_times(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(t=frame["t"].dt.tz_localize(None))


def other_times(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(t=frame["t"].dt.tz_convert("Asia/Kolkata").astype("datetime64[ns, Asia/Kolkata]"))


def lose_a_row(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:-1] if len(frame) > 1 else frame


def shift_the_index(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_axis(frame.index + 1)


def reverse(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[::-1]


def change_in_place(frame: pd.DataFrame) -> pd.DataFrame:
    if (frame["i"] == 3).any():
        frame["i"] = 0
        raise Unnameable("three")
    frame["i"] = frame["i"] + 1
    return frame


def fail_when_empty(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(first=frame["i"].iloc[0])


def give_a_series(frame: pd.DataFrame) -> object:
    return frame["i"]


def drop_a_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="f")


def name_by_number(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(n=1).rename(columns={"n": 5})


def name_twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame], axis=1)


def take_a_reserved_name(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{"@position": 1})


def differ_in_case(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(I=1)


def give_categories(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(c=frame["s"].astype("category"))
