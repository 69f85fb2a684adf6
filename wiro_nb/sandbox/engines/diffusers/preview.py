"""Small pictures of latents while a clip is generated. Needs torch; runs in a worker.

Colours are nearly linear in a latent: a chart of known colours, encoded once, gives the linear map by least
squares. A picture costs a matrix product of one latent frame and a JPEG.
"""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import numpy as np
import torch
from PIL import Image

__all__ = ["LatentColours", "PreviewClock"]

_CHART_PX, _PATCH_PX = 256, 16
_MAX_SIDE_PX = 160
_QUALITY = 70
_MIN_GAP_S = 0.25
_MAX_SHARE = 0.03


class LatentColours:
    """The linear map from latents of one VAE to colours, shape (channels + 1, 3)."""

    def __init__(self, weights: np.ndarray[Any, Any]) -> None:
        self._weights = weights

    @classmethod
    def fit(cls, pipe: Any) -> LatentColours | None:
        """Fits the map to a pipeline's VAE; None where its latents have no such form."""
        try:
            latents = _encode_chart(pipe.vae)
        except Exception:  # a pipeline without a VAE, or one with latents of another form: no previews
            return None
        channels, height, width = latents.shape
        chart = _chart().reshape(height, _CHART_PX // height, width, _CHART_PX // width, 3).mean((1, 3))
        rows = np.concatenate([latents.reshape(channels, -1).T, np.ones((height * width, 1))], 1)
        gram = rows.T @ rows + 1e-3 * np.eye(channels + 1)
        return cls(np.linalg.solve(gram, rows.T @ chart.reshape(-1, 3)))

    def picture(self, frame: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Returns one latent frame, shape (channels, height, width), as a message's `preview`."""
        channels, height, width = frame.shape
        rows = np.concatenate([frame.reshape(channels, -1).T, np.ones((height * width, 1))], 1)
        colours = (rows @ self._weights).reshape(height, width, 3).clip(0, 1) * 255
        image = Image.fromarray(colours.astype(np.uint8))
        image.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX))
        target = io.BytesIO()
        image.save(target, "JPEG", quality=_QUALITY)
        jpeg = base64.b64encode(target.getvalue()).decode()
        return {"jpeg": jpeg, "width": image.width, "height": image.height}


class PreviewClock:
    """Decides when a preview is due: at most four a second, and below 3 % of the time."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._spent_s = 0.0
        self._count = 0

    def picture(self, colours: LatentColours | None, latents: torch.Tensor, skip: int) -> dict[str, Any] | None:
        """Returns a picture when one is due, of one frame after the other; `skip` leading frames are left out."""
        now = time.monotonic()
        typical_s = self._spent_s / max(self._count, 1)
        too_soon = now - self._last < _MIN_GAP_S
        too_expensive = self._spent_s + typical_s > _MAX_SHARE * (now - self._started)
        if colours is None or latents.dim() != 5 or too_soon or too_expensive:
            return None
        frames = latents.shape[2] - skip
        frame = latents[0, :, skip + self._count % frames].detach().float().cpu().numpy()
        picture = colours.picture(frame)
        self._last = time.monotonic()
        self._spent_s += self._last - now
        self._count += 1
        return picture


def _chart() -> np.ndarray[Any, Any]:
    """Returns a picture of coloured patches, shape (256, 256, 3), 0 to 1; always the same."""
    side = _CHART_PX // _PATCH_PX
    colours = np.random.Generator(np.random.PCG64(1)).random((side, side, 3))
    return colours.repeat(_PATCH_PX, 0).repeat(_PATCH_PX, 1)


def _encode_chart(vae: Any) -> np.ndarray[Any, Any]:
    """Returns the chart's latents as the pipelines hold them, shape (channels, height, width)."""
    pixels = torch.from_numpy(_chart() * 2 - 1).permute(2, 0, 1)[None]
    is_video = "3D" in type(vae.encoder).__name__ or type(vae).__name__ != "AutoencoderKL"
    pixels = pixels[:, :, None] if is_video else pixels
    device = next(vae.parameters()).device
    if device.type == "cpu" and torch.cuda.is_available():
        device = torch.device("cuda")  # an offloaded VAE comes to the card when it is called
    with torch.no_grad():
        latents = vae.encode(pixels.to(device, vae.dtype)).latent_dist.mode().float().cpu()[0]
    latents = latents[:, 0] if is_video else latents
    config = vae.config
    if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
        mean, std = (torch.tensor(values)[:, None, None] for values in (config.latents_mean, config.latents_std))
        latents = (latents - mean) / std
    else:
        latents = latents * float(getattr(config, "scaling_factor", 1.0))
    return np.asarray(latents.numpy(), np.float64)
