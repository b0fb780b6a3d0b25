"""Any two parallel folders of registered patches: what the user declares, nothing assumed but 8-bit SAR."""

from __future__ import annotations

from bench.data.facts import DatasetFacts
from bench.data.folders import FolderPairs
from bench.data.scaling import SarScale


class TwoFolders(FolderPairs):
    """Two parallel folders; see `FolderOptions` for how names pair and for the attribute table."""

    version = 2  # 2: pixels that a GeoTIFF marks as missing are dark
    facts = DatasetFacts(
        name="two-folders",
        title="any two parallel folders of registered patches",
        sar_sensor="as the user declares",
        optical_sensor="as the user declares",
        polarisation="unknown",
        sar_scale=SarScale.uint8,  # anything else is refused until the option sar_scale declares it
        licence="the data's own",
        citation="the data's own",
        homepage="your own data",
        folder="pairs",
        place_what="""\
    <folder>/
      optical/<name>.png   optical, 1 or 3 channels (PNG, JPEG, BMP or TIFF); folder names: options `optical`, `sar`
      sar/<name>.png       SAR, one channel or three equal channels, same size and same name""",
    )
