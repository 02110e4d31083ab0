"""Make `src/conceptseg/data/world/sprites/` from an unpacked @lobehub/fluent-emoji-3d (MIT, Microsoft Fluent Emoji).

    npm pack @lobehub/fluent-emoji-3d@1.1.0 && tar xf lobehub-fluent-emoji-3d-1.1.0.tgz
    python recipes/world/vendor_sprites.py package/assets

Writes one WebP of at most 128 px per sprite, cropped to what is visible, and `index.json`, a list of rows with
`name, file, kind, role, family, category, split, colour, source, coverage`. Run again, it writes the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

TARGET = Path(__file__).resolve().parents[2] / "src/conceptseg/data/world/sprites"
SIDE_PX = 128

# kind/category/split: "name=code points", comma-separated. A name is what a person would type.
COMMON = {
    "living/animal/train": "dog=1f415, cat=1f408, horse=1f40e, cow=1f404, pig=1f416, rabbit=1f407, elephant=1f418, "
    "monkey=1f412, turtle=1f422, snake=1f40d, octopus=1f419, fish=1f41f, whale=1f40b, crab=1f980, butterfly=1f98b, "
    "bee=1f41d, ladybug=1f41e, duck=1f986, penguin=1f427, owl=1f989, parrot=1f99c, rooster=1f413, frog=1f438, "
    "lion=1f981, panda=1f43c, fox=1f98a, zebra=1f993, giraffe=1f992, squirrel=1f43f-fe0f, shark=1f988",
    "living/plant/train": "tree=1f333, palm tree=1f334, cactus=1f335, rose=1f339, sunflower=1f33b, mushroom=1f344",
    "living/fruit/train": "apple=1f34e, pear=1f350, orange=1f34a, banana=1f34c, lemon=1f34b, watermelon=1f349, "
    "grapes=1f347, strawberry=1f353, pineapple=1f34d, carrot=1f955, tomato=1f345, corn=1f33d",
    "living/animal/unseen": "sheep=1f411, tiger=1f405, camel=1f42a, crocodile=1f40a, snail=1f40c, dolphin=1f42c, "
    "lobster=1f99e, scorpion=1f982, swan=1f9a2, flamingo=1f9a9, koala=1f428, kangaroo=1f998, hedgehog=1f994",
    "living/plant/unseen": "tulip=1f337, pine tree=1f332, clover=1f340",
    "living/fruit/unseen": "peach=1f351, cherries=1f352, eggplant=1f346, broccoli=1f966, avocado=1f951",
    "artifact/food/train": "bread=1f35e, pizza=1f355, hamburger=1f354, donut=1f369, cake=1f382, cheese=1f9c0",
    "artifact/household/train": "teapot=1fad6, cup=2615, wine glass=1f377, knife=1f52a, bucket=1faa3, broom=1f9f9, "
    "chair=1fa91, couch=1f6cb-fe0f, door=1f6aa, candle=1f56f-fe0f, flashlight=1f526, light bulb=1f4a1, clock=23f0, "
    "watch=231a, key=1f511, lock=1f512, bell=1f514, scissors=2702-fe0f, pencil=270f-fe0f, book=1f4d5, "
    "envelope=2709-fe0f, umbrella=2614",
    "artifact/toy/train": "gift=1f381, balloon=1f388, teddy bear=1f9f8, soccer ball=26bd, die=1f3b2",
    "artifact/instrument/train": "drum=1f941, guitar=1f3b8, trumpet=1f3ba, violin=1f3bb",
    "artifact/device/train": "camera=1f4f7, phone=1f4f1, laptop=1f4bb, television=1f4fa",
    "artifact/tool/train": "hammer=1f528, axe=1fa93, saw=1fa9a, screwdriver=1fa9b, wrench=1f527, magnet=1f9f2, "
    "anchor=2693",
    "artifact/clothing/train": "top hat=1f3a9, cap=1f9e2, crown=1f451, glasses=1f453, shirt=1f455, jeans=1f456, "
    "dress=1f457, shoe=1f45f, boot=1f97e, gloves=1f9e4, backpack=1f392, suitcase=1f9f3",
    "artifact/vehicle/train": "car=1f697, bus=1f68c, truck=1f69a, train=1f682, bicycle=1f6b2, airplane=2708-fe0f, "
    "helicopter=1f681, rocket=1f680, sailboat=26f5",
    "artifact/building/train": "tent=26fa, house=1f3e0",
    "artifact/food/unseen": "croissant=1f950, cookie=1f36a, milk=1f95b, pretzel=1f968",
    "artifact/household/unseen": "mug=1f37a, baby bottle=1f37c, basket=1f9fa, ladder=1fa9c, toothbrush=1faa5, "
    "hourglass=231b, lantern=1f3ee, crayon=1f58d-fe0f, trophy=1f3c6",
    "artifact/toy/unseen": "yo-yo=1fa80, kite=1fa81, basketball=1f3c0",
    "artifact/instrument/unseen": "saxophone=1f3b7, accordion=1fa97",
    "artifact/device/unseen": "radio=1f4fb, headphones=1f3a7",
    "artifact/tool/unseen": "pickaxe=26cf-fe0f, toolbox=1f9f0, sword=1f5e1-fe0f",
    "artifact/clothing/unseen": "sunglasses=1f576-fe0f, scarf=1f9e3, coat=1f9e5, handbag=1f45c, socks=1f9e6",
    "artifact/vehicle/unseen": "tractor=1f69c, motorcycle=1f3cd-fe0f, canoe=1f6f6, ship=1f6a2, skateboard=1f6f9",
}

# family/category/split: kinds that only a close look tells apart; a common sprite may be a member too ("*name").
FINE = {
    "dog/animal/train": "*dog, poodle=1f429, guide dog=1f9ae",
    "cat/animal/train": "*cat, black cat=1f408-200d-2b1b, leopard=1f406",
    "fish/animal/train": "*fish, tropical fish=1f420, pufferfish=1f421",
    "flower/plant/train": "*rose, *sunflower, hibiscus=1f33a, daisy=1f33c, cherry blossom=1f338",
    "car/vehicle/train": "*car, taxi=1f695, police car=1f693, jeep=1f699",
    "apple/fruit/train": "*apple, green apple=1f34f",
    "book/household/train": "*book, green book=1f4d7, blue book=1f4d8, orange book=1f4d9",
    "cattle/animal/unseen": "ox=1f402, buffalo=1f403, bison=1f9ac",
    "rodent/animal/unseen": "mouse=1f401, rat=1f400, hamster=1f439",
    "bear/animal/unseen": "bear=1f43b, polar bear=1f43b-200d-2744-fe0f, *koala",
    "ball/toy/unseen": "*basketball, baseball=26be, volleyball=1f3d0, football=1f3c8",
    "truck/vehicle/unseen": "ambulance=1f691, fire truck=1f692, pickup=1f6fb",
}

RARE = {
    "living/animal/train": "dragon=1f409, unicorn=1f984, sauropod=1f995, mammoth=1f9a3, peacock=1f99a, sloth=1f9a5",
    "artifact/toy/train": "robot=1f916, flying saucer=1f6f8, nesting doll=1fa86",
    "living/animal/unseen": "dodo=1f9a4, tyrannosaur=1f996, jellyfish=1fabc",
    "artifact/toy/unseen": "ghost=1f47b, stone head=1f5ff, pinata=1fa85",
}

# The one colour that a person would name these by; other sprites have none.
COLOURS = {
    "red": "apple, tomato, strawberry, teapot, backpack, book, balloon, crab, rose, cherries, lobster, toolbox, scarf",
    "yellow": "banana, lemon, cheese, bell, trumpet, key, crown, light bulb, trophy, saxophone",
    "green": "cactus, clover, tree, shirt, tent, crocodile, frog, turtle, snake, broccoli, pine tree, tractor",
    "blue": "fish, whale, dolphin, bucket, cap, jeans, dress, suitcase, anchor, blue book, jellyfish",
    "orange": "orange, carrot, fox, orange book, basketball, lantern",
    "purple": "grapes, gloves, umbrella, eggplant, yo-yo, accordion",
}


def rows() -> list[dict]:
    """All sprites in catalogue order; families are written into the rows of common sprites."""
    found: dict[str, dict] = {}
    colours = {name: word for word, names in COLOURS.items() for name in names.split(", ")}
    for role, table in (("common", COMMON), ("fine", FINE), ("rare", RARE)):
        for heading, entries in table.items():
            first, category, split = heading.split("/")
            family = first if role == "fine" else None
            for entry in entries.split(", "):
                if entry.startswith("*"):
                    found[entry[1:]]["family"] = family
                    continue
                name, source = entry.strip().split("=")
                kind = (
                    first if role != "fine" else ("living" if category in {"animal", "plant", "fruit"} else "artifact")
                )
                found[name] = {
                    "name": name, "file": f"{name.replace(' ', '_')}.webp", "kind": kind, "role": role,
                    "family": family, "category": category, "split": split, "colour": colours.get(name),
                    "source": source,
                }  # fmt: skip
    return list(found.values())


def shrink(path: Path) -> Image.Image:
    """The sprite cropped to its visible part, its longer side `SIDE_PX`."""
    sprite = Image.open(path).convert("RGBA")
    visible = np.asarray(sprite)[..., 3] >= 24
    ys, xs = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    sprite = sprite.crop((int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1))
    scale = SIDE_PX / max(sprite.size)
    return sprite.resize((max(1, round(sprite.width * scale)), max(1, round(sprite.height * scale))), Image.LANCZOS)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", type=Path, help="the package's assets folder")
    assets = parser.parse_args().assets
    TARGET.mkdir(parents=True, exist_ok=True)
    table = rows()
    for row in table:
        sprite = shrink(assets / f"{row['source']}.webp")
        row["coverage"] = round(float((np.asarray(sprite)[..., 3] > 127).sum()) / SIDE_PX**2, 2)
        sprite.save(TARGET / row["file"], "WEBP", quality=82, method=6)
    lines = ",\n".join(json.dumps(row) for row in table)
    (TARGET / "index.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(table)} sprites, {sum(f.stat().st_size for f in TARGET.iterdir()) / 1e6:.2f} MB in {TARGET}")


if __name__ == "__main__":
    main()
