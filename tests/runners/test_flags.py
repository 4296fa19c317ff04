"""Flags as Beam's options: views are made once, and share their values."""

from copy import deepcopy

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions

from runners.flags import options_of


def test_views_of_options_are_made_once_and_share_their_values() -> None:
    options = options_of(["--runner=PrismRunner", "--job_name=a"])
    standard = options.view_as(StandardOptions)
    assert options.view_as(StandardOptions) is standard
    standard.streaming = True
    options.view_as(SetupOptions).save_main_session = False
    given = options.get_all_options()
    plain = PipelineOptions(["--runner=PrismRunner", "--job_name=a", "--streaming"]).get_all_options()
    assert given == {**plain, "save_main_session": False}
    assert standard.view_as(SetupOptions).save_main_session is False


def test_views_of_a_copy_are_its_own() -> None:
    options = options_of(["--runner=PrismRunner"])
    standard = options.view_as(StandardOptions)
    copy = deepcopy(options)
    copy.view_as(StandardOptions).streaming = True
    assert (copy.get_all_options()["streaming"], standard.streaming) == (True, False)
