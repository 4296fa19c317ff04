"""Packaging: `pip install .` gives the console script `streamgauge` and four import packages."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "dataflow" / "__init__.py").read_text(encoding="utf-8"))[1]

setup(
    name="streamgauge",
    version=VERSION,
    description="Keyed, windowed statistics and models over event streams, on Apache Beam at Arrow speed",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["dataflow*", "transforms*", "runners*", "containers*"]),
    package_data={
        "dataflow.page": ["*.css", "*.js", "*.jinja"],
        "dataflow.report": ["*.css", "*.js", "*.jinja"],
        "": ["py.typed"],
    },
    install_requires=[
        "apache-beam==2.77.0",  # stage labels and runner behaviour are tested against this version
        "adbc-driver-sqlite>=1.13,<2",
        "click>=8.2,<9",
        "duckdb>=2.0,<2.1",  # how it writes a JSON number as text is part of the value rules
        "fsspec>=2025.3",
        "jinja2>=3.1,<4",
        "numba>=0.68,<0.69",  # an option of its own that is not public: transforms/collection/parsing/compiled
        "numpy>=2.2,<2.5",
        "pandas>=2.2,<3",
        "prometheus-client>=0.22,<1",
        "pyarrow>=25,<26",
        "pydantic>=2.12,<3",
        "pyyaml>=6,<7",
        "rich>=14,<16",
        "scikit-learn>=1.7,<2",
        "sqlalchemy>=2.0.40,<3",
        "starlette>=1.0,<2",
        "tzdata>=2025.2",  # the only time zone database that is looked at; `plan` and the report name its version
        "uvicorn>=0.40,<1",
        "vl-convert-python>=1.9,<2",
        "zstandard>=0.23,<1",
    ],
    extras_require={
        "gcp": ["apache-beam[gcp]==2.77.0", "gcsfs>=2025.3"],
        "s3": ["s3fs>=2025.3"],
        # Its schema registry's client wants the packages of that extra; Avro itself is read by Beam's own fastavro.
        "kafka": ["confluent-kafka[schemaregistry]>=2.12,<3"],
        "postgres": ["psycopg[binary]>=3.2,<4"],
    },
    entry_points={"console_scripts": ["streamgauge = dataflow.main:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Information Analysis",
    ],
)
