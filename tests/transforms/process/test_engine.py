"""The engine: it answers queries over Arrow tables, and reaches nothing else."""

import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from transforms.process.engine import connection, query

NUMBERS = pa.table({"n": range(500_000)})


def test_rows_come_in_the_order_of_the_input() -> None:
    chunked = pa.concat_tables([NUMBERS.slice(start, 1000) for start in range(0, 500_000, 1000)])
    found = query("SELECT n * 2 AS d FROM numbers WHERE n % 3 = 0", {"numbers": chunked})
    assert found["d"].to_pylist() == list(range(0, 1_000_000, 6))


def test_a_result_is_one_batch_also_when_it_is_empty() -> None:
    found = query("SELECT n, n::VARCHAR AS t FROM numbers WHERE n < 0", {"numbers": NUMBERS.to_batches()[0]})
    assert (found.num_rows, found.schema.names) == (0, ["n", "t"])


def test_a_table_is_forgotten_after_its_query_also_after_a_failed_one() -> None:
    query("SELECT 1 AS one FROM numbers LIMIT 1", {"numbers": NUMBERS})
    with pytest.raises(duckdb.Error):
        query("SELECT no_such_column FROM numbers", {"numbers": NUMBERS})
    with pytest.raises(duckdb.Error, match="numbers"):
        query("SELECT 1 FROM numbers", {})


def test_variables_of_python_are_out_of_reach() -> None:
    secret = NUMBERS
    assert secret.num_rows
    with pytest.raises(duckdb.Error, match="secret"):
        query("SELECT * FROM secret", {})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{path}')",
        "SELECT * FROM '{path}'",
        "SELECT * FROM read_csv('{path}')",
        "SELECT * FROM read_parquet('https://example.com/a.parquet')",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '{path}.out'",
        "ATTACH '{path}.db'",
        "EXPORT DATABASE '{path}.folder'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{path}'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET TimeZone = 'Asia/Kolkata'",
        "SET temp_directory = '{path}.tmp'",
        "SET python_enable_replacements = true",
        "PRAGMA enable_logging",
        "CREATE SECRET (TYPE s3)",
    ],
)
def test_files_networks_extensions_and_settings_are_locked(sql: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("secret\n")
    with pytest.raises(duckdb.Error):
        connection().execute(sql.format(path=tmp_path / "a.csv")).fetchall()
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_each_thread_has_a_connection_of_its_own() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(connection()))
    thread.start()
    thread.join()
    assert connection() is connection()
    assert connection() is not found[0]


def test_its_clock_is_that_of_utc() -> None:
    texts = pa.table({"t": ["2013-07-01 00:00:00"]})
    found = query("SELECT extract(hour FROM t::TIMESTAMPTZ AT TIME ZONE 'UTC') AS h FROM texts", {"texts": texts})
    assert found["h"].to_pylist() == [0]


def test_threads_ask_at_the_same_time_and_get_their_own_answers() -> None:
    answers: dict[int, list[int]] = {}

    def ask(factor: int) -> None:
        table = pa.table({"n": pa.array(range(20_000), pa.int64())})
        for _ in range(10):
            answers[factor] = query(f"SELECT n * {factor} AS m FROM numbers", {"numbers": table})["m"].to_pylist()

    threads = [threading.Thread(target=ask, args=(factor,)) for factor in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {factor: list(range(0, 20_000 * factor, factor)) for factor in range(1, 5)}


def test_an_error_that_quotes_half_a_character_is_an_error_of_the_engine() -> None:
    texts = pa.table({"t": ['{"a":"' + "x" * pad + "é😀" * 40 for pad in range(8)]})
    for row in range(8):
        with pytest.raises(duckdb.Error, match="JSON"):
            query("""SELECT json_transform(t, '{"a":"VARCHAR"}') FROM texts""", {"texts": texts.slice(row, 1)})
    assert query("SELECT 1 AS one FROM texts", {"texts": texts.slice(0, 1)})["one"].to_pylist() == [1]
