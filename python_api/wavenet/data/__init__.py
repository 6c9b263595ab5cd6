"""Recordings in, batches out: finds, checks, decodes, augments and batches labelled audio."""

from .audio import read_audio
from .augment import Augmentation
from .cache import AudioCache, default_cache_folder
from .check import CheckReport, Skipped, check_clips
from .clips import Clip, labels_of
from .dataset import Batch, ClipDataset, Draw, collate
from .errors import AudioError, DataError
from .find import find_clips
from .manifest import read_manifest
from .mulaw import mu_law_compress, mu_law_decode, mu_law_encode
from .sampler import EpochBatchSampler
from .splits import select, split_validation, values_of

__all__ = [
    "AudioCache",
    "AudioError",
    "Augmentation",
    "Batch",
    "CheckReport",
    "Clip",
    "ClipDataset",
    "DataError",
    "Draw",
    "EpochBatchSampler",
    "Skipped",
    "check_clips",
    "collate",
    "default_cache_folder",
    "find_clips",
    "labels_of",
    "mu_law_compress",
    "mu_law_decode",
    "mu_law_encode",
    "read_audio",
    "read_manifest",
    "select",
    "split_validation",
    "values_of",
]
