"""Every check, in the order in which a newcomer would meet what it checks. Each is independent of the others."""

from __future__ import annotations

from collections.abc import Callable

from . import readings, service
from .subject import Subject

CHECKS: tuple[Callable[[Subject], None], ...] = (
    service.it_is_alive_and_ready,
    readings.what_is_logged_is_read_back_exactly,
    readings.viewers_hear_of_it_as_it_happens,
    readings.a_resume_is_the_next_attempt,
    readings.a_resume_from_a_checkpoint_replaces_what_it_repeats,
    readings.ranks_are_kept_apart,
    readings.ranks_that_share_rows_are_merged,
    service.an_alert_fires_once_and_tells_once,
    readings.thinning_keeps_what_matters,
    readings.a_block_is_stored_once,
    service.what_cannot_be_is_refused_in_a_sentence,
    readings.an_export_is_what_was_logged,
    readings.figures_are_drawn_from_what_is_stored,
    service.a_key_is_asked_for_where_there_is_one,
    service.a_key_opens_what_it_is_for,
    service.a_deleted_run_is_gone,
)
