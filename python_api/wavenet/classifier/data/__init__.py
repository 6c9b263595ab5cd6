"""Recordings in, batches out: finds, checks, decodes, augments and batches labelled audio."""

from wavenet.classifier.data.augment import Augmentation, Augmenter
from wavenet.classifier.data.cache import AudioCache, default_cache_folder
from wavenet.classifier.data.clip_check import CheckReport, Skipped, check_clips
from wavenet.classifier.data.clips import Clip, labels_of
from wavenet.classifier.data.dataset import Batch, ClipDataset, Draw, collate
from wavenet.classifier.data.find import find_clips
from wavenet.classifier.data.group_folds import fold_groups
from wavenet.classifier.data.manifest import read_manifest
from wavenet.classifier.data.prepare import (
    DataConfig,
    PreparedData,
    Splits,
    find_labelled,
    prepare_data,
    split_clips,
)
from wavenet.classifier.data.sampler import EpochBatchSampler
from wavenet.classifier.data.splits import select, split_validation, values_of
from wavenet.classifier.data.training_set import Augmenting, TrainingClips, collate_draws

__all__ = [
    "AudioCache",
    "Augmentation",
    "Augmenter",
    "Augmenting",
    "Batch",
    "CheckReport",
    "Clip",
    "ClipDataset",
    "DataConfig",
    "Draw",
    "EpochBatchSampler",
    "PreparedData",
    "Skipped",
    "Splits",
    "TrainingClips",
    "check_clips",
    "collate",
    "collate_draws",
    "default_cache_folder",
    "find_clips",
    "find_labelled",
    "fold_groups",
    "labels_of",
    "read_manifest",
    "prepare_data",
    "select",
    "split_clips",
    "split_validation",
    "values_of",
]
