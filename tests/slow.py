"""The tests that `make check` leaves out because they take long; `make test` runs them all.

`make check` shows the slowest tests that it ran: one of several seconds belongs here.
"""

from fnmatch import fnmatch

# whole files, by patterns of their names
FILES = {
    "attack/*": "attacks repeat themselves",
    "test_alarms.py": "starts a Prefect server",
    "test_archive_cache.py": "starts runs and kills them",
    "test_backends.py": "runs the tests of models on other backends",
    "test_challenge.py": "has models classify in processes of their own",
    "test_checkpoints.py": "trains, and kills it",
    "test_compress*.py": "converts networks in processes of their own",
    "test_containers.py": "encodes and decodes a video for each case",
    "test_contributing.py": "runs a part of the pipeline",
    "test_convlstm.py": "builds networks and learns",
    "test_cyclegan.py": "trains, and kills it",
    "test_distillation.py": "trains, and kills it",
    "test_dvc_lock.py": "runs a small pipeline several times",
    "test_explain.py": "builds every architecture",
    "test_explore.py": "renders and decodes videos, and draws",
    "test_export.py": "trains",
    "test_extract.py": "decodes videos in processes and on a cluster",
    "test_flow_cluster.py": "starts a Dask cluster, and trains",
    "test_feedback_review.py": "decodes in processes",
    "test_flow_dvc.py": "runs a small pipeline several times",
    "test_flow_recovery.py": "starts a Prefect server",
    "test_flow_server.py": "starts a Prefect server",
    "test_flows.py": "starts a Prefect server",
    "test_folds.py": "trains, and kills it",
    "test_idle.py": "runs a small pipeline several times",
    "test_layers.py": "builds networks",
    "test_lean.py": "imports Keras in processes of its own",
    "test_locks.py": "waits for other processes",
    "test_mixing.py": "builds every architecture",
    "test_models.py": "builds, trains and saves every architecture",
    "test_monitor.py": "builds every architecture",
    "test_monitor_flow.py": "starts a Prefect server",
    "test_notebooks.py": "runs a part of the pipeline, and trains",
    "test_notifying.py": "starts a Prefect server",
    "test_object_store.py": "starts an object store",
    "test_odd_videos.py": "encodes and decodes a video for each case",
    "test_package.py": "builds a Bento and starts it",
    "test_page.py": "starts the service and a browser",
    "test_pipeline.py": "runs the whole pipeline",
    "test_promote.py": "starts a Prefect server",
    "test_promotion.py": "runs processes, and kills them",
    "test_published.py": "downloads and unpacks archives",
    "test_recipes.py": "runs a part of the pipeline",
    "test_reproduce.py": "runs a small pipeline several times",
    "test_resumable.py": "waits for servers that break off",
    "test_sandbox.py": "waits until processes are killed",
    "test_scratch.py": "decodes videos in processes",
    "test_service_films.py": "decodes, explains and encodes",
    "test_service_parity.py": "builds networks",
    "test_service_timeline.py": "decodes in processes",
    "test_service_jobs.py": "decodes in processes that are killed",
    "test_serving*.py": "starts the service",
    "test_slim.py": "builds Bentos and starts them",
    "test_streaming.py": "builds networks",
    "test_students.py": "runs a part of the pipeline several times",
    "test_style_benchmark.py": "renders films",
    "test_style.py": "paints pictures",
    "test_style_stages.py": "renders films and trains",
    "test_style_measures.py": "sends pictures through a network",
    "test_style_video.py": "paints videos",
    "test_style_fast.py": "trains networks",
    "test_supervisor.py": "waits until processes are killed",
    "test_training.py": "trains",
    "test_truth_flow.py": "renders films, and works out how each of their pixels moves",
    "test_upload_decoding.py": "decodes in processes that are killed",
    "test_validate*.py": "runs Great Expectations",
    "test_versions.py": "makes repositories of git and DVC",
    "test_web_server.py": "starts web servers",
}

# single tests of other files
TESTS = {
    "test_bundle.py": [
        "test_views_in_one_call_answer_as_views_alone_and_clips_as_clips_alone",
    ],
    "test_catalog.py": [
        "test_catalog_tells_what_files_hold_and_sets_bad_ones_aside",
        "test_what_was_set_aside_for_its_bounds_is_tried_again",
    ],
    "test_deploy.py": ["test_prefect_yaml_deploys_what_make_schedule_serves"],
    "test_docs.py": [
        "test_commands_name_what_is_there",
        "test_quick_commands_print_what_they_promise",
    ],
    "test_download.py": [
        "test_a_file_lost_or_cut_short_is_fetched_again",
        "test_a_sync_fetches_what_is_new_or_changed_and_removes_what_is_gone",
        "test_same_content_with_a_new_date_is_no_change",
        "test_the_pin_changes_only_with_the_data",
        "test_without_git_the_reason_is_told_and_the_pin_is_made_up_for",
    ],
    "test_evaluate.py": ["test_the_report_agrees_with_the_model_and_with_itself"],
    "test_leaks.py": ["test_the_probe_sees_what_a_random_split_gives_away"],
    "test_names.py": [
        "test_all_other_names_come_through_to_the_clips",
        "test_names_of_twenty_thousand_videos_are_checked_in_no_time",
    ],
    "test_optimization.py": ["test_averaged_weights_are_those_of_keras"],
    "test_pages.py": ["test_figures_of_many_classes_and_odd_labels_can_be_drawn"],
    "test_project.py": ["test_a_wheel_holds_every_file_of_the_packages"],
    "test_synthetic.py": [
        "test_a_random_split_leaks_and_a_grouped_one_does_not",
        "test_the_same_seed_gives_the_same_bytes_in_another_process",
    ],
}


def is_slow(file: str, test: str) -> bool:
    """Whether `make check` leaves out a test.

    Args:
        file: its file below tests/, with forward slashes.
        test: the name of its function.
    """
    return any(fnmatch(file, pattern) for pattern in FILES) or test in TESTS.get(file, [])
