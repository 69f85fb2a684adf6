"""A clip that carries its record plays in Chromium as it did before, and FFmpeg reads record and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.provenance.clips import make_clip, media_data, metadata_of
from tests.unit.provenance.test_record import make_record
from wiro_nb.provenance.embed import embed_record

pytestmark = pytest.mark.browser

FLAGS = ("", "+faststart", "+faststart+use_metadata_tags", "frag_keyframe+empty_moov")
PLAY = """(videos) => Promise.all(videos.map(async (video) => {
  video.muted = true;
  const ended = new Promise((done, fail) => {
    video.onended = done;
    video.onerror = () => fail(video.error.message);
  });
  await video.play();
  await ended;
  return {seconds: video.duration, width: video.videoWidth, at: video.currentTime};
}))"""


def test_clips_with_their_record_play_to_their_end(chromium: Any, tmp_path: Path) -> None:
    for number, flags in enumerate(FLAGS):
        clip = make_clip(tmp_path / f"{number}.mp4", flags=flags, frames=12)
        before = media_data(clip)
        record = make_record(parameters={"prompt": "</script><b>été 🦊" * 40})
        assert embed_record(clip, record).problem == ""
        assert media_data(clip) == before
        if "frag" not in flags:
            assert json.loads(metadata_of(clip)["comment"])["wiro_nb"]["run_id"] == record["run_id"]
    videos = (f'<video src="{number}.mp4" preload="auto"></video>' for number in range(len(FLAGS)))
    (tmp_path / "page.html").write_text("".join(videos))
    page = chromium.new_page()
    try:
        page.goto((tmp_path / "page.html").as_uri())
        played = page.eval_on_selector_all("video", PLAY)
    finally:
        page.close()
    for flags, found in zip(FLAGS, played, strict=True):
        assert found["width"] == 64, flags
        assert found["seconds"] == pytest.approx(0.75, abs=0.1), flags
        assert found["at"] == pytest.approx(found["seconds"], abs=0.1), flags
