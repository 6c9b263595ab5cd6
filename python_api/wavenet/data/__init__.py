"""Recordings in, batches out: finds, checks, decodes, augments and batches labelled audio."""

from wavenet.data.audio import read_audio
from wavenet.data.augment import Augmentation, Augmenter
from wavenet.data.blocks import audio_blocks, pcm_blocks
from wavenet.data.cache import AudioCache, default_cache_folder
from wavenet.data.check import CheckReport, Skipped, check_clips
from wavenet.data.clips import Clip, labels_of
from wavenet.data.dataset import Batch, ClipDataset, Draw, collate
from wavenet.data.errors import AudioError, DataError, require_seconds
from wavenet.data.find import find_clips
from wavenet.data.manifest import read_manifest
from wavenet.data.mulaw import mu_law_compress, mu_law_decode, mu_law_encode
from wavenet.data.sampler import EpochBatchSampler
from wavenet.data.splits import select, split_validation, values_of
from wavenet.data.training_set import Augmenting, TrainingClips, collate_draws

__all__ = [
    "AudioCache",
    "AudioError",
    "Augmentation",
    "Augmenter",
    "Augmenting",
    "Batch",
    "CheckReport",
    "Clip",
    "ClipDataset",
    "DataError",
    "Draw",
    "EpochBatchSampler",
    "Skipped",
    "TrainingClips",
    "audio_blocks",
    "check_clips",
    "collate",
    "collate_draws",
    "default_cache_folder",
    "find_clips",
    "labels_of",
    "mu_law_compress",
    "mu_law_decode",
    "mu_law_encode",
    "pcm_blocks",
    "read_audio",
    "read_manifest",
    "require_seconds",
    "select",
    "split_validation",
    "values_of",
]
