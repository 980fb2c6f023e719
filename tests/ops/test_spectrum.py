"""Front ends against the libraries that the published ones were made with.

golden/mfcc.npz holds what mfcc of python_speech_features 0.6 gives (as float32) for the same samples and options, and
the samples.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import fft, signal

from sslkit.models.l3 import FRONTS
from sslkit.models.lip_motion import SpeechBands
from sslkit.ops import spectrum as ops

GOLDEN = Path(__file__).parents[1] / "golden" / "mfcc.npz"


def chirp() -> np.ndarray:
    """15,777 samples of int16: a rising tone in noise, partly digital silence. The golden file is of these."""
    random = np.random.default_rng(5)
    n = np.arange(16_000)
    tone = 6000 * np.sin(2 * np.pi * (200 + 1500 * n / 16000) * n / 16000) * (1 + np.sin(2 * np.pi * 4 * n / 16000)) / 2
    samples = (tone + random.normal(0, 800, n.size)).round().astype(np.int16)
    samples[6000:7000] = 0
    return samples[:15_777]


def test_the_golden_file_is_of_these_samples() -> None:
    assert np.array_equal(np.load(GOLDEN)["samples"], chirp())


def noise(*shape: int) -> torch.Tensor:
    return (3000 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))).round().to(torch.int16)


def slow_mfcc(samples: np.ndarray) -> np.ndarray:
    """The definition in loops, float64, 16 kHz."""
    x = samples.astype(np.float64)
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    rows = []
    corners = np.floor(513 * 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28) / 2595) - 1) / 16000)
    for start in range(0, max(1, 160 * (1 + int(np.ceil((len(x) - 400) / 160)))), 160):
        piece = np.zeros(400)
        piece[: len(x[start : start + 400])] = x[start : start + 400]
        power = np.abs(np.fft.rfft(piece, 512)) ** 2 / 512
        bands = np.zeros(26)
        for band in range(26):
            low, middle, high = corners[band : band + 3].astype(int)
            for k in range(low, middle):
                bands[band] += power[k] * (k - low) / (middle - low)
            for k in range(middle, high):
                bands[band] += power[k] * (high - k) / (high - middle)
        eps = np.finfo(float).eps
        cepstrum = fft.dct(np.log(np.where(bands == 0, eps, bands)), norm="ortho")[:13]
        cepstrum *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
        cepstrum[0] = np.log(power.sum() or eps)
        rows.append(cepstrum)
    return np.array(rows)


@pytest.mark.parametrize(
    ("name", "samples", "options"),
    [
        ("default", chirp(), {}),
        ("quiet", chirp() // 64, {}),
        ("short", chirp()[:100], {}),
        ("wide", chirp(), {"window_s": 0.025 * 25 / 29.97, "hop_s": 0.010 * 25 / 29.97}),
        ("rate8", chirp(), {"rate_hz": 8000}),
    ],
)
def test_mfcc_is_python_speech_features(name: str, samples: np.ndarray, options: dict[str, float]) -> None:
    expected = torch.from_numpy(np.load(GOLDEN)[name])
    found = ops.mfcc(torch.from_numpy(samples.astype(np.int16)), **options)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-3


def test_mfcc_is_its_definition() -> None:
    found = ops.mfcc(torch.from_numpy(chirp()[4000:8000].copy()))
    assert np.abs(found.numpy() - slow_mfcc(chirp()[4000:8000])).max() < 1e-3


def test_mfcc_takes_any_leading_axes_and_float_of_the_same_scale() -> None:
    sound = noise(2, 3, 3200)
    found = ops.mfcc(sound)
    assert found.shape == (2, 3, 19, 13)
    assert torch.allclose(found[1, 2], ops.mfcc(sound[1, 2].float()), atol=1e-4)
    louder = ops.mfcc(sound.float() * 4)
    assert (louder - found)[..., 1:].abs().max() < 1e-3  # only the energy knows the gain
    assert torch.allclose(louder[..., 0] - found[..., 0], torch.tensor(16.0).log(), atol=1e-4)


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        (ops.L3, (257, 197)),
        (replace(ops.L3, window=480, hop=240), (257, 198)),
        (ops.AVE, (257, 200)),
        (ops.LVS, (257, 66)),
        (ops.MATCHING, (40, 101)),
        (ops.OPENL3, (128, 199)),
        (ops.SYNCHFORMER, (128, 101)),
    ],
)
def test_shapes_of_one_second(form: ops.Spectrum, shape: tuple[int, int]) -> None:
    found = ops.log_spectrogram(noise(2, 1, form.rate_hz), form)
    assert found.shape == (2, 1, *shape) and found.dtype == torch.float32 and found.isfinite().all()
    assert ops.Spectrum(**asdict(form)) == form


@pytest.mark.parametrize("form", [ops.AVE, ops.LVS])
def test_density_is_scipy(form: ops.Spectrum) -> None:
    sound = noise(form.rate_hz) + 500  # a constant that each window takes out
    x = sound.numpy() / 32768 * form.full_scale
    _, _, density = signal.spectrogram(x, form.rate_hz, nperseg=512, noverlap=274)
    expected = np.log(density + 1e-7) / form.divisor
    assert np.abs(ops.log_spectrogram(sound, form).numpy() - expected).max() < 1e-3


def test_l3_is_its_definition() -> None:
    sound = noise(4000)
    x = sound.numpy() / 32768
    window = signal.get_window("hann", 512)
    columns = [np.abs(np.fft.rfft(x[at : at + 512] * window)) for at in range(0, 4000 - 511, 242)]
    expected = np.log(np.maximum(np.array(columns).T, 1e-12)) / 5
    assert np.abs(ops.log_spectrogram(sound, ops.L3).numpy() - expected).max() < 1e-4


def test_mel_front_ends_are_librosa() -> None:
    import librosa

    sound = noise(8000)
    unit = sound.numpy() / 32768

    def theirs(form: ops.Spectrum, pad_mode: str, **options: object) -> np.ndarray:
        return librosa.feature.melspectrogram(
            y=unit * form.full_scale,
            sr=form.rate_hz,
            n_fft=form.n_fft,
            win_length=form.window,
            hop_length=form.hop,
            n_mels=form.bands,
            power=form.power,
            pad_mode=pad_mode,
            **options,
        )

    expected = np.log(theirs(ops.MATCHING, "reflect", htk=True, norm=None) + 1e-6)
    assert np.abs(ops.log_spectrogram(sound, ops.MATCHING).numpy() - expected).max() < 1e-3
    expected = (np.log(theirs(ops.SYNCHFORMER, "reflect", htk=True, norm=None) + 1e-6) + 4.2677) / (2 * 4.5690)
    assert np.abs(ops.log_spectrogram(sound, ops.SYNCHFORMER).numpy() - expected).max() < 1e-3
    expected = librosa.power_to_db(theirs(ops.OPENL3, "constant"), ref=1.0, amin=1e-10, top_db=80)
    found = ops.log_spectrogram(sound, ops.OPENL3).numpy()
    assert np.abs(found - (expected - expected.max())).max() < 1e-2


@pytest.mark.parametrize("form", [FRONTS["mel"], SpeechBands().form], ids=["l3_mel", "speech_bands"])
def test_front_ends_of_weights_that_ship_are_librosa(form: ops.Spectrum) -> None:
    import librosa

    # Loud and quiet, digital silence, and a click at each end: the first and the last samples are in one column each,
    # and the rest that fills no window is in none.
    sound = chirp()
    sound[0], sound[-1] = 30_000, -30_000
    columns = (len(sound) - form.window) // form.hop + 1
    sound[(columns - 1) * form.hop + form.window - 1] = 25_000
    mel = librosa.feature.melspectrogram(
        y=sound.astype(np.float64) / 32768,
        sr=16_000,
        n_fft=form.window,
        hop_length=160,
        window="hann",
        center=False,
        power=2.0,
        n_mels=form.bands,
        fmin=60,
        fmax=7600,
        htk=True,
        norm=None,
        dtype=np.float64,
    )
    expected = np.log(mel + {64: 1e-4, 40: 1e-6}[form.bands])
    found = ops.log_spectrogram(torch.from_numpy(sound), form).numpy()
    assert found.shape == expected.shape == (form.bands, columns)
    assert np.abs(found - expected).max() < 1e-3
    for column in (0, columns // 2, columns - 1):  # each says something of its own
        assert found[:, column].std() > 0.1 and np.abs(found[:, column] - expected[:, column]).max() < 1e-3
    cut = ops.log_spectrogram(torch.from_numpy(sound[: (columns - 1) * form.hop + form.window].copy()), form).numpy()
    assert np.array_equal(cut, found)  # nothing beyond the last whole window is heard


def test_matching_is_torchaudio_and_its_norm_is_torch() -> None:
    import torchaudio

    sound = noise(1, 8000)
    mel = torchaudio.transforms.MelSpectrogram(
        sample_rate=16000, n_fft=512, win_length=400, hop_length=160, f_min=0.0, f_max=8000, n_mels=40
    )
    expected = (mel(sound.float()) + 1e-6).log()
    found = ops.log_spectrogram(sound, ops.MATCHING)
    assert (found - expected).abs().max() < 1e-3
    assert (ops.standardised(found) - torch.nn.InstanceNorm1d(40)(expected)).abs().max() < 1e-3


def test_an_impulse_lights_the_column_on_it() -> None:
    sound = torch.zeros(16_000)
    sound[50 * 160] = 20_000
    for form in (ops.MATCHING, ops.SYNCHFORMER):
        assert ops.log_spectrogram(sound, form).sum(0).argmax() == 50


def test_too_short_a_sound_is_an_error() -> None:
    with pytest.raises(ValueError, match="fewer than one window"):
        ops.log_spectrogram(noise(500), ops.L3)
    with pytest.raises(ValueError, match="cannot be mirrored"):
        ops.log_spectrogram(noise(200), ops.MATCHING)
    with pytest.raises(ValueError, match="empty"):
        ops.mfcc(noise(0))


@pytest.mark.cuda
def test_front_ends_are_the_same_on_cuda() -> None:
    sound = noise(2, 48_000)
    assert torch.allclose(ops.mfcc(sound), ops.mfcc(sound.cuda()).cpu(), atol=1e-3)
    for form in (ops.L3, ops.AVE, ops.MATCHING, ops.OPENL3):
        assert torch.allclose(
            ops.log_spectrogram(sound, form), ops.log_spectrogram(sound.cuda(), form).cpu(), atol=1e-2
        )


@pytest.mark.parametrize("form", [ops.MATCHING, ops.OPENL3])
def test_columns_keep_their_digits_within_mixed_precision(form: ops.Spectrum) -> None:
    sound = 3000 * torch.randn(2, form.rate_hz // 2, generator=torch.Generator().manual_seed(0))
    exact, cepstrum = ops.log_spectrogram(sound, form), ops.mfcc(sound)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ops.log_spectrogram(sound, form), exact) and torch.equal(ops.mfcc(sound), cepstrum)
