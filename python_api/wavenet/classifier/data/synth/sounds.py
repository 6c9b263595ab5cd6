"""Ten environmental sounds, a short function each.

What tells them apart is how they move in time: glides, beeps, syllables, strikes, drops, gusts,
rolls, gaits, rotor beats, firing. Pitches, bands and timbres are drawn from ranges that overlap
between classes, so that the mean spectrum gives away little.

Every function takes (rng, samples, rate in Hz) and returns float64 (samples,), at any level.
"""

from __future__ import annotations

import numpy as np

from wavenet.classifier.data.synth.dsp import (
    Array,
    Rng,
    add_at,
    decay,
    harmonic,
    log_uniform,
    noise_band,
    partials,
    seconds_of,
    unit,
    wander,
)


def siren(rng: Rng, samples: int, rate: int) -> Array:
    """One tone that glides up and down without a break, one to four times a second."""
    t = seconds_of(samples, rate)
    cycles = log_uniform(rng, 1.0, 4.0) * t + rng.uniform()
    # From a triangle (0) to a sine (1).
    roundness = rng.uniform()
    triangle = 4 * np.abs(cycles % 1 - 0.5) - 1
    sweep = roundness * np.cos(2 * np.pi * cycles) + (1 - roundness) * triangle
    pitch = log_uniform(rng, 600, 1800) * np.exp2(rng.uniform(0.3, 0.6) * sweep)
    return harmonic(pitch, partials(rng), rate)


def alarm(rng: Rng, samples: int, rate: int) -> Array:
    """Even beeps of one steady pitch or of two in turns, four to nine a second, sharply cut."""
    cycles = log_uniform(rng, 4.0, 9.0) * seconds_of(samples, rate) + rng.uniform()
    level = (cycles % 1 < rng.uniform(0.45, 0.65)).astype(float)
    ramp = max(1, round(0.004 * rate))
    level = np.convolve(level, np.full(ramp, 1 / ramp), "same")
    pitch = np.full(samples, log_uniform(rng, 600, 2200))
    if rng.uniform() < 0.5:
        pitch[cycles % 2 < 1] *= np.exp2(rng.uniform(0.2, 0.6))
    return level * harmonic(pitch, partials(rng), rate)


def bird_song(rng: Rng, samples: int, rate: int) -> Array:
    """Short whistled syllables with quick pitch curves and irregular pauses between."""
    song = np.zeros(samples)
    timbre = partials(rng)[:3]
    home = log_uniform(rng, 1200, 3000)
    onset = rng.uniform(-0.05, 0.1)
    while onset < samples / rate:
        length = rng.uniform(0.04, 0.13)
        count = round(length * rate)
        u = np.linspace(0, 1, count)
        glide = rng.uniform(0.4, 0.8) * rng.choice([-1, 1]) * (u - 0.5)
        bend = rng.uniform(-0.8, 0.8) * (4 * u * (1 - u) - 0.5)
        pitch = home * np.exp2(glide + bend + rng.uniform(-0.2, 0.2))
        syllable = np.sin(np.pi * u) ** 0.7 * harmonic(pitch, timbre, rate)
        add_at(song, onset, rate, syllable * rng.uniform(0.5, 1.0))
        onset += length + rng.exponential(0.05) + 0.015
    return song


def bell(rng: Rng, samples: int, rate: int) -> Array:
    """One to four strikes of inharmonic partials that ring and die away, the high ones first."""
    ratios = np.array([0.5, 1.0, 1.19, 1.56, 2.0, 2.66, 3.01]) * rng.uniform(0.98, 1.02, 7)
    levels = rng.uniform(0.2, 1.0, 7)
    pitch = log_uniform(rng, 500, 1500)
    ring = log_uniform(rng, 0.2, 0.8)
    t = seconds_of(samples, rate)
    sound = np.zeros(samples)
    strike = np.zeros(samples)
    for ratio, level in zip(ratios, levels, strict=True):
        if ratio * pitch < 0.45 * rate:
            tone = np.sin(2 * np.pi * ratio * pitch * t)
            strike += level * tone * decay(samples, rate, 0.002, ring / ratio**0.5)
    onset = rng.uniform(0.0, 0.35)
    while onset < samples / rate:
        add_at(sound, onset, rate, strike * rng.uniform(0.6, 1.0))
        onset += rng.uniform(0.22, 0.7)
    return sound


def rain(rng: Rng, samples: int, rate: int) -> Array:
    """Hundreds of drops a second at random moments, each a short plop of its own pitch."""
    sound = 0.25 * noise_band(rng, samples, rate, log_uniform(rng, 900, 3500), 1.5)
    centre = log_uniform(rng, 900, 3200)
    t = seconds_of(round(0.02 * rate), rate)
    for _ in range(rng.poisson(log_uniform(rng, 80, 250) * samples / rate)):
        pitch = min(centre * np.exp2(rng.normal(0, 0.5)), 0.45 * rate)
        drop = np.sin(2 * np.pi * pitch * t) * np.exp(-t / log_uniform(rng, 0.0007, 0.003))
        add_at(sound, rng.uniform(-0.01, samples / rate), rate, drop * 4 * rng.exponential())
    return sound


def wind(rng: Rng, samples: int, rate: int) -> Array:
    """Noise that swells and falls in gusts while its band wanders up and down."""
    gust = wander(rng, samples, rate, rng.uniform(1.5, 4))
    pitch = log_uniform(rng, 300, 1200) * np.exp2(rng.uniform(0.3, 0.7) * gust)
    # Slow complex noise on a moving carrier is a narrow band that moves.
    width = log_uniform(rng, 60, 250)
    slow = [noise_band(rng, samples, rate, 1.0, np.log2(width)) for _ in range(2)]
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    howl = slow[0] * np.cos(phase) - slow[1] * np.sin(phase)
    hiss = noise_band(rng, samples, rate, log_uniform(rng, 300, 2000), 1.2)
    return (howl + rng.uniform(0.2, 0.6) * hiss) * np.exp(1.2 * gust)


def thunder(rng: Rng, samples: int, rate: int) -> Array:
    """A crack, then a roll of overlapping rumbles that die away irregularly."""
    sound = np.zeros(samples)
    centre = log_uniform(rng, 150, 800)
    onset = rng.uniform(0.0, 0.3)
    crack = noise_band(rng, samples, rate, min(3 * centre, 0.3 * rate), 1.2)
    add_at(sound, onset, rate, crack * decay(samples, rate, 0.002, rng.uniform(0.015, 0.05)) * 2)
    level = 1.0
    while onset < samples / rate:
        rumble = noise_band(rng, samples, rate, centre, 0.8)
        attack, time = rng.uniform(0.01, 0.06), rng.uniform(0.08, 0.25)
        add_at(sound, onset, rate, level * rumble * decay(samples, rate, attack, time))
        onset += rng.exponential(0.09)
        centre *= rng.uniform(0.85, 0.98)
        level *= rng.uniform(0.85, 1.0)
    return sound


def footsteps(rng: Rng, samples: int, rate: int) -> Array:
    """Two to four steps a second, nearly even; each a heel and, softer, a toe."""
    sound = np.zeros(samples)
    centre = log_uniform(rng, 300, 2000)
    period = log_uniform(rng, 0.25, 0.5)
    roll = rng.uniform(0.04, 0.09)
    time = log_uniform(rng, 0.008, 0.025)
    count = round(0.25 * rate)
    onset = rng.uniform(-0.1, period)
    while onset < samples / rate:
        for delay, level in ((0.0, 1.0), (roll, rng.uniform(0.3, 0.6))):
            hit = noise_band(rng, count, rate, centre * np.exp2(rng.normal(0, 0.15)), 1.0)
            add_at(sound, onset + delay, rate, level * hit * decay(count, rate, 0.002, time))
        onset += period * rng.normal(1, 0.05)
    return sound


def helicopter(rng: Rng, samples: int, rate: int) -> Array:
    """Ten to twenty even noise beats a second over a steady wash."""
    beats = log_uniform(rng, 10, 20) * seconds_of(samples, rate) + rng.uniform()
    centre = log_uniform(rng, 250, 1600)
    slap = np.exp(-(beats % 1) / rng.uniform(0.12, 0.3)) * (1 + 0.2 * wander(rng, samples, rate, 4))
    wash = noise_band(rng, samples, rate, log_uniform(rng, 300, 2000), 1.5)
    return slap * noise_band(rng, samples, rate, centre, 1.0) + rng.uniform(0.1, 0.25) * wash


def engine(rng: Rng, samples: int, rate: int) -> Array:
    """Firing at 30 to 90 a second, cylinders of unequal strength, the speed drifting."""
    speed = log_uniform(rng, 30, 90) * np.exp2(0.25 * wander(rng, samples, rate, 2))
    firings = np.cumsum(speed) / rate + rng.uniform()
    cylinders = rng.uniform(0.5, 1.0, 4)
    pulse = np.exp(-(firings % 1) / rng.uniform(0.1, 0.25)) * cylinders[firings.astype(int) % 4]
    centre = log_uniform(rng, 200, 1000)
    roar = unit(pulse) * noise_band(rng, samples, rate, centre, 1.0)
    ring = np.sin(2 * np.pi * (firings % 1) * rng.uniform(3, 8)) * pulse
    return roar + rng.uniform(0.3, 1.0) * unit(ring)
