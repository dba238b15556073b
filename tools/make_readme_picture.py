"""Draw README's picture, a photograph under Grad-CAM, as on the start page: `notebooks/images/`.

    python -m tools.make_readme_picture

The photograph ships with scikit-learn (danielbuechele, CC BY 2.0), EfficientNet-Lite0 with the
course.
"""

import argparse
from pathlib import Path

from sklearn.datasets import load_sample_image

from labkit.explain import gradcam
from labkit.figures import Figure, whole
from labkit.models import last_maps, load_model

OUT = Path(__file__).parents[1] / "notebooks" / "images" / "palace.jpg"
ALT = (
    "A tower of several storeys above a lake, in grey, with a map in colours over it that is "
    "brightest on the middle storeys; a square outline shows the part that the network saw"
)


def figure() -> Figure:
    """Grad-CAM of the likeliest class over the whole photograph, with what the network said."""
    model, photograph = load_model("efficientnet_lite0"), load_sample_image("china.jpg")
    image = model.prepare(photograph)
    ((name, probability),) = model.predict(image, k=1)
    relevance = gradcam(model, image, model.classes.index(name), layer=last_maps(model))
    title = f"{model.name}: {name} {probability:.0%}"
    return whole(*model.on_whole(relevance, photograph), alt=ALT, title=title)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    figure().save(parser.parse_args().out)
