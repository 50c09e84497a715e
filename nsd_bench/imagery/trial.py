"""One trial of NSD-Imagery, as an index lists it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from nsd_bench.errors import OptionError, choices

__all__ = ["CONDITIONS", "GUIDE_CONDITIONS", "TRIAL_ID_STEP", "ImageryTrial", "trial_id"]

CONDITIONS: Final = ("perception", "imagery", "attention")
"""What an index may hold: NSD's vision, imagery and attention runs."""
GUIDE_CONDITIONS: Final = CONDITIONS[:2]
"""What readers of the cache layout know; they leave out attention."""
TRIAL_ID_STEP: Final = 1_000_000


def trial_id(subject: int, row: int) -> int:
    """Return a number that no other trial of any subject has.

    Parameters
    ----------
    subject
        1 to 8.
    row
        Of the subject's trials, from 0.

    Examples
    --------
    >>> trial_id(3, 719)
    3000719
    """
    return subject * TRIAL_ID_STEP + row


@dataclass(frozen=True)
class ImageryTrial:
    """One trial: what was seen or imagined, and where its beta lies.

    Parameters
    ----------
    trial_id
        Unique over all subjects, see `trial_id`.
    subject
        As in paths: "subj01".
    session
        From 1.
    trial_in_session
        From 0, in the order of acquisition.
    condition
        One of `CONDITIONS`.
    nsd_id
        From 0; None for what is not one of NSD's images.
    beta_path
        File with the beta, relative to the cache root.
    beta_index
        Volume in that file, from 0.
    roi_mask_path
        Mask that goes with the beta, relative to the cache root.
    coco_id
        COCO's number of the image; None where it is not known.
    repeat_index
        How often the subject had the same stimulus in the same condition before.
    caption
        What the stimulus is called, or shows.
    run_number
        From 1.
    is_valid
        False where the beta is constant or not a number.
    snr_estimate
        Variance of the signal over that of the noise of one trial, in the subject's trials of the same
        condition: the median over the mask's voxels of `nsd_bench.imagery.reliability.snr`. None unless
        'nsd-bench imagery index --snr' was asked for it.

    Raises
    ------
    OptionError
        If there is no such condition; it is a ValueError, too.

    Examples
    --------
    >>> trial = ImageryTrial(1000144, "subj01", 1, 144, "imagery", None)
    >>> ImageryTrial.from_dict(trial.to_dict()) == trial
    True
    """

    trial_id: int
    subject: str
    session: int
    trial_in_session: int
    condition: str
    nsd_id: int | None
    beta_path: str = ""
    beta_index: int = 0
    roi_mask_path: str | None = None
    coco_id: int | None = None
    repeat_index: int = 0
    caption: str | None = None
    run_number: int | None = None
    is_valid: bool = True
    snr_estimate: float | None = None

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise OptionError(
                f"there is no condition {self.condition!r}",
                place=f"trial {self.trial_id}",
                expected=choices(self.condition, CONDITIONS),
                fix="correct the condition",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all 15 fields by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the trial that `to_dict` gave; other keys are left out.

        Parameters
        ----------
        values
            Fields by name; those with a default may be missing.
        """
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
