from kinoflow.training.history import History


def scores(*val_losses: float) -> list[dict[str, float]]:
    return [{"loss": 1.0, "val_loss": loss} for loss in val_losses]


def test_patience_counts_epochs_since_the_best() -> None:
    history = History(patience=2)
    stopped = []
    for epoch in scores(1.0, 0.8, 0.9, 0.8, 0.7):
        history.add(epoch, 1.5)
        stopped.append(history.stopped)
    # the fourth is no better than the second: equal scores do not count as better
    assert stopped == [False, False, False, True, False]
    assert history.best_epoch == 4
    assert history.improved
    assert history.seconds == 7.5


def test_without_patience_the_last_epoch_is_the_best() -> None:
    history = History(patience=None)
    for epoch in scores(1.0, 2.0, 3.0):
        history.add(epoch, 1)
        assert history.improved
        assert not history.stopped
    assert history.best["val_loss"] == 3.0
    assert list(history.table().columns) == ["epoch", "loss", "val_loss"]
    assert list(history.table()["epoch"]) == [1, 2, 3]
