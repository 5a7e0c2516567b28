from adasap_det.demo.twin_progress import Progress, ProgressFile, progress_file, read_progress


def test_begin_writes_stage_and_work_done_so_far(tmp_path):
    path = progress_file(tmp_path, 'plain')
    assert read_progress(path) is None
    progress = ProgressFile(path, 10)
    progress.begin('training')
    assert read_progress(path) == Progress('training', 0, 10)
    progress.advance(3)
    progress.advance(1)
    progress.begin('evaluating')
    assert read_progress(path) == Progress('evaluating', 4, 10)
