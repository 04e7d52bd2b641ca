"""The figures of the toy."""

from sde_edit.theory import figures, plots


def test_figures_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "HISTOGRAM_STEPS", 5)
    monkeypatch.setattr(plots, "SAMPLES", 500)
    monkeypatch.setattr(plots, "KL_STEPS", 3)
    monkeypatch.setattr(plots, "SCHEDULE_STEPS", (2, 3))
    for name, draw in figures().items():
        paths = draw(tmp_path)
        drawn = [tmp_path / "figures" / f"{name}.{suffix}" for suffix in ("png", "svg", "pdf")]
        assert [path for path in paths if path.parent.name == "figures"] == drawn
        assert all(path.stat().st_size > 1000 for path in drawn)
