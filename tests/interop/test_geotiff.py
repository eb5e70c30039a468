"""GDAL, through rasterio, finds masks where it finds their images."""

import numpy as np
import pytest

from dinoiser.batch import export
from tests.helpers.export_jobs import PROMPTS, make_job, scene

# programs differ in what they warn of
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SHAPE = (300, 700)


@pytest.fixture
def rasterio():
    return pytest.importorskip("rasterio", reason="install napari-dinoiser[interop]")


def places(rasterio):
    """Images as people have them: a coordinate system, and where pixels lie in it."""
    from rasterio.control import GroundControlPoint
    from rasterio.transform import Affine

    metres = Affine(0.25, 0, 499_980.125, 0, -0.25, 5_200_020.875)
    turned = Affine(8.66e-6, 5e-6, 12.5, 5e-6, -8.66e-6, 48.25)
    corners = [(0, 0, 12.0, 48.0), (0, 700, 12.1, 48.01), (300, 0, 11.99, 47.9)]
    points = [GroundControlPoint(row=r, col=c, x=x, y=y, z=0) for r, c, x, y in corners]
    own = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m"
    return {
        "metres.tif": {"crs": "EPSG:32633", "transform": metres},
        "degrees.tif": {"crs": "EPSG:4326", "transform": turned},
        "own.tif": {"crs": own, "transform": metres, "compress": "deflate", "tiled": True},
        "points.tif": {"crs": "EPSG:4326", "gcps": points},
        "big.tif": {"crs": "EPSG:3857", "transform": metres, "BIGTIFF": "YES"},
        "cog.tif": {"driver": "COG", "crs": "EPSG:25832", "transform": metres},
        "world.tif": {"tfw": "YES", "profile": "BASELINE", "transform": turned},
    }


def test_masks_lie_where_their_images_do(rasterio, tmp_path):
    images = places(rasterio)
    labels = {name: scene(i % 4, SHAPE) for i, name in enumerate(images)}
    job = make_job(tmp_path, labels)
    for name, place in images.items():
        form = {"driver": "GTiff", "count": 3, "dtype": "uint8"}
        form |= {"height": SHAPE[0], "width": SHAPE[1]}
        with rasterio.open(tmp_path / "images" / name, "w", **(form | place)) as image:
            image.write(np.full((3, *SHAPE), 128, np.uint8))
    assert not export(job, ["geotiff"])
    for name, expected in labels.items():
        with (
            rasterio.open(tmp_path / "images" / name) as image,
            rasterio.open(job / "geotiff" / name) as mask,
        ):
            assert mask.crs == image.crs
            assert mask.transform == image.transform
            assert [p.asdict() | {"id": 0} for p in mask.gcps[0]] == [
                p.asdict() | {"id": 0} for p in image.gcps[0]
            ]
            assert mask.gcps[1] == image.gcps[1]
            assert mask.nodata == 255
            np.testing.assert_array_equal(mask.read(1), expected)
            colors = mask.colormap(1)
        for item in PROMPTS.classes:
            assert colors[item.id][:3] == tuple(PROMPTS.palette[item.id])
