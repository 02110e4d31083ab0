"""What the values and colours of a mask mean: one reading, whatever it is stored as. Numpy alone; no files."""

from conceptseg.masks.colours import read_colours, read_with_alpha
from conceptseg.masks.lossy import read_lossy
from conceptseg.masks.palettes import read_palette
from conceptseg.masks.reading import ANY, IGNORE_VALUE, Label, MaskReading, Selection
from conceptseg.masks.values import NOTE_VOID, read_integers, read_values

__all__ = [
    "ANY",
    "IGNORE_VALUE",
    "NOTE_VOID",
    "Label",
    "MaskReading",
    "Selection",
    "read_colours",
    "read_integers",
    "read_lossy",
    "read_palette",
    "read_values",
    "read_with_alpha",
]
