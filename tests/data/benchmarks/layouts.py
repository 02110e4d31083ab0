"""Small copies of every data set, laid out and named as their authors ship them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE_HW = (6, 8)


def picture(path: Path, shade: int = 90) -> Path:
    """An RGB picture of 6 × 8 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIZE_HW[1], SIZE_HW[0]), (shade % 256, 60, 30)).save(path)
    return path


def mask(path: Path, columns: int = 3, level: int = 255) -> Path:
    """A grey mask whose first columns are the target: 6 pixels a column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(SIZE_HW, np.uint8)
    values[:, :columns] = level
    Image.fromarray(values).save(path)
    return path


def write_json(path: Path, content: object, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))


def duts(root: Path) -> None:
    for part, names in (("TR", ["ILSVRC2012_test_00000004", "sun_aaa", "n01"]), ("TE", ["sun_aabghdd", "img.v2"])):
        for name in names:
            picture(root / f"DUTS-{part}/DUTS-{part}-Image/{name}.jpg")
            mask(root / f"DUTS-{part}/DUTS-{part}-Mask/{name}.png")
    (root / "DUTS-TE/DUTS-TE-Image/._sun_aabghdd.jpg").write_bytes(b"left by a Mac")
    (root / "DUTS-TE/DUTS-TE-Image/Thumbs.db").write_bytes(b"left by Windows")


def cod10k(root: Path) -> None:
    for part, count in (("Train", 2), ("Test", 2)):
        names = [f"COD10K-CAM-1-Aquatic-{n}-BatFish-{n}" for n in range(count)]
        for name in [*names, "COD10K-NonCAM-1-Aquatic-1-BatFish-9"]:
            picture(root / f"{part}/Image/{name}.jpg")
            mask(root / f"{part}/GT_Object/{name}.png", columns=0 if "NonCAM" in name else 3)
    picture(root / "CAMO-V.1.0-CVIU2019/Images/Train/camourflage_00001.jpg")
    for name in ("camourflage_00001",):
        mask(root / f"CAMO-V.1.0-CVIU2019/GT/{name}.png")


def fss1000(root: Path) -> None:
    for name in ("ab_wheel", "abe's_flyingfish", "a-bomb (old)"):
        for number in (1, 2, 10):
            picture(root / f"fewshot_data/{name}/{number}.jpg")
            values = np.zeros((*SIZE_HW, 3), np.uint8)
            values[:, :3] = 255
            Image.fromarray(values).save(root / f"fewshot_data/{name}/{number}.png")


def mgrounding(root: Path) -> None:
    for part, names in (("Common_Object/COCO", "ab"), ("Difference/spot-the-diff", "cd")):
        for name in names:
            picture(root / f"{part}/{name}.jpg")
    row = {
        "id": "1_2",
        "images": ["./MGrounding-630k/Common_Object/COCO/a.jpg", "./MGrounding-630k/Common_Object/COCO/b.jpg"],
        "conversations": [
            {"from": "human", "value": "<image>\n<image>\nFind <|object_ref_start|>the shared dog<|object_ref_end|>."},
            {"from": "gpt", "value": "It's in the first image. <|box_start|>(100,200),(300,999)<|box_end|>"},
        ],
        "type": "co_train",
    }
    wordy = {**row, "conversations": [row["conversations"][0], {"from": "gpt", "value": "There is none."}]}
    difference = {
        **row,
        "images": [f"./MGrounding-630k/Difference/spot-the-diff/{name}.jpg" for name in "cd"],
        "conversations": [
            {"from": "human", "value": "<image>\n<image>\nWhat is new in the second picture?"},
            {"from": "gpt", "value": "<|box_start|>(0,0),(500,500)<|box_end|>"},
        ],
    }
    write_json(root / "Common_Object/common_train_70k.json", [row, wordy])
    write_json(root / "Difference/diff_train_70k.json", [difference])


def cosod3k(root: Path) -> None:
    for group in ("accordion", "ant-bear"):
        for number in (1, 2):
            picture(root / f"CoSOD3k/image/{group}/ILSVRC2013_{group}_{number}.jpg")
            mask(root / f"CoSOD3k/groundtruth/{group}/ILSVRC2013_{group}_{number}.png")


def coco20i(root: Path) -> None:
    categories = [{"id": 1, "name": "person"}, {"id": 64, "name": "potted plant"}, {"id": 90, "name": "toothbrush"}]
    for part, first in (("train2014", 100), ("val2014", 200)):
        images = [
            {"id": first + n, "file_name": f"COCO_{part}_{first + n:012}.jpg", "height": 6, "width": 8}
            for n in range(3)
        ]
        square = {"category_id": 1, "iscrowd": 0, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
        crowd = {"category_id": 1, "iscrowd": 1, "segmentation": {"size": [6, 8], "counts": [36, 12]}}
        annotations = [{**square, "image_id": first + n} for n in range(3)]
        annotations += [{**crowd, "image_id": first}]
        annotations += [{**square, "category_id": 64, "image_id": first + n} for n in (0, 1)]
        annotations += [{**square, "category_id": 90, "image_id": first + 2}]
        content = {"images": images, "categories": categories, "annotations": annotations}
        write_json(root / f"annotations/instances_{part}.json", content)
        for image in images:
            picture(root / part / image["file_name"])


def inaturalist(root: Path) -> None:
    images, annotations = [], []
    for number, species in enumerate(["Danaus plexippus"] * 3 + ["Gulo gulo"] * 2 + ["a kind of bird"]):
        name = f"Insecta_{number}.jpg"
        picture(root / "images" / name)
        images.append({"id": 10_000 + number, "file_name": name, "text_input": species, "height": 6, "width": 8})
        if species != "a kind of bird":
            region = {"size": [6, 8], "counts": "0b0n0"}
            annotations.append({"id": number, "image_id": 10_000 + number, "segmentation": region})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    write_json(root / "silver_inaturalist_merged_test.json", content)
    (root / "ultra_rare.txt").write_text("Gulo gulo\n")


def trans10k(root: Path) -> None:
    for part, names in {
        "train": ["1", "2"],
        "validation/easy": ["3"],
        "validation/hard": ["4"],
        "test/easy": ["1090"],
        "test/hard": ["1091"],
    }.items():
        for name in names:
            picture(root / part / f"images/{name}.jpg")
            path = root / part / f"masks/{name}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.zeros((*SIZE_HW, 3), np.uint8)
            values[:, 0] = (255, 0, 0)  # things
            values[:, 1:3] = 255  # stuff
            Image.fromarray(values).save(path)


def sbu(root: Path) -> None:
    for part, names in {"SBUTrain4KRecoveredSmall": ["lssd1", "lssd2"], "SBU-Test": ["lssd99"]}.items():
        for name in names:
            picture(root / f"SBU-shadow/{part}/ShadowImages/{name}.jpg")
            mask(root / f"SBU-shadow/{part}/ShadowMasks/{name}.png")
            mask(root / f"SBU-shadow/{part}/EdgeMap/{name}.png")


def esdis_sod(root: Path) -> None:
    for part, names in {"train": ["7_1", "7_2", "10_1", "3_1"], "test": ["7_12", "10_9", "3_2", "5_4"]}.items():
        for name in names:
            picture(root / f"{part}/images/{name}.jpg")
            mask(root / f"{part}/gt/{name}.png")


def polyp(root: Path) -> None:
    for name in ("CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir"):
        picture(root / f"TestDataset/{name}/images/1.png")
        mask(root / f"TestDataset/{name}/masks/1.png")
    for name in ("22", "cju0qkwl35piu0993l0dewei2"):
        picture(root / f"TrainDataset/image/{name}.png")
        mask(root / f"TrainDataset/mask/{name}.png")


def busi(root: Path) -> None:
    for kind in ("benign", "malignant"):
        for number in (1, 2, 3, 10):
            picture(root / f"Dataset_BUSI_with_GT/{kind}/{kind} ({number}).png")
            mask(root / f"Dataset_BUSI_with_GT/{kind}/{kind} ({number})_mask.png", columns=2)
    second = np.zeros(SIZE_HW, np.uint8)
    second[:, 7] = 255
    Image.fromarray(second).save(root / "Dataset_BUSI_with_GT/benign/benign (10)_mask_1.png")
    picture(root / "Dataset_BUSI_with_GT/normal/normal (1).png")
    mask(root / "Dataset_BUSI_with_GT/normal/normal (1)_mask.png", columns=0)
    (root / "test.txt").write_text("benign (10)\nmalignant (1)\n")


def isic2018(root: Path) -> None:
    for part, first, count in (("Training", 0, 8), ("Validation", 50, 2)):
        for number in range(first, first + count):
            picture(root / f"ISIC2018_Task1-2_{part}_Input/ISIC_{number:07}.jpg")
            mask(root / f"ISIC2018_Task1_{part}_GroundTruth/ISIC_{number:07}_segmentation.png")
        (root / f"ISIC2018_Task1-2_{part}_Input/LICENSE.txt").write_text("terms")


def mig_bench(root: Path) -> None:
    rows = []
    for kind, question in {
        "reasoning": "Which item in Image-2 share the similar feature of Image-1? Find it in the second image. ",
        "diff": "Find what changed and give its box in the first image.",
        "common_object": "Locate what all pictures share.",
        "group_grounding": "Find the statue.",
    }.items():
        names = [f"images/{kind}/case097_{number}.png" for number in (1, 2, 3)]
        for name in names:
            picture(root / name)
        answer = [0.25, 0.0, 0.5, 1.0]
        images = [f"./MIG-Bench/{name}" for name in names]
        rows.append({"task": kind, "images": images, "question": question, "answer": answer, "need_format": True})
    write_json(root / "MIG_data.json", rows)
    mask(root / "masks/reasoning/0000.png", columns=2)


def cityscapes(root: Path) -> None:
    for split, city in (("train", "aachen"), ("val", "frankfurt"), ("val", "munster")):
        frame = f"{city}_000000_000294"
        picture(root / f"leftImg8bit/{split}/{city}/{frame}_leftImg8bit.png")
        labels = np.full(SIZE_HW, 7, np.uint8)  # road
        labels[:, 4:6] = 26  # car
        labels[:, 6:] = 1  # the ego vehicle: not evaluated
        folder = root / f"gtFine/{split}/{city}"
        folder.mkdir(parents=True)
        Image.fromarray(labels).save(folder / f"{frame}_gtFine_labelIds.png")
        Image.fromarray(labels).save(folder / f"{frame}_gtFine_instanceIds.png")
        (folder / f"{frame}_gtFine_polygons.json").write_text("{}")


def reasonseg(root: Path) -> None:
    square = [[0, 0], [3, 0], [3, 5], [0, 5]]
    annotation = {
        "text": ["the part of the room where one’s guests sit", "another wording"],
        "is_sentence": True,
        "shapes": [
            {"label": "target", "points": [[0, 0], [5, 0], [5, 5], [0, 5]]},
            {"label": "ignore", "points": square},
            {"label": "flag", "points": square},
        ],
    }
    for split, name in (("train", "1_a"), ("val", "5795235_a01c2ec6ad_o"), ("test", "6_long")):
        picture(root / f"ReasonSeg/{split}/{name}.jpg")
        encoding = "cp1252" if split == "val" else "utf-8"
        write_json(root / f"ReasonSeg/{split}/{name}.json", annotation, encoding)


def released(root: Path) -> None:
    def row(dataset: str, name: str, cls_name: str, **more: object) -> dict[str, object]:
        picture(root / f"{dataset}/{name}.jpg")
        mask(root / f"{dataset}/{name}.png")
        paths = {"img_path": [f"{dataset}/{name}.jpg"], "mask_path": f"{dataset}/{name}.png"}
        return {**paths, "cls_name": cls_name, "dataset_name": dataset, "task_name": "cd", **more}

    mig = row("MIG-Bench", "c", "diff", problem="What changed?", ref_box=[[0.25, 0, 0.5, 1], [0, 0, 1, 0.5]])
    mig["dataset_name"] = "MIG_diff"
    mig["img_path"] = ["MIG-Bench/a.jpg", "MIG-Bench/b.jpg", "MIG-Bench/c.jpg"]
    picture(root / "MIG-Bench/a.jpg")
    picture(root / "MIG-Bench/b.jpg")
    train = {
        "DUTS": [row("DUTS", f"tr{n}", "DUTS") for n in range(3)],
        "ultra_rareGulo_gulo": [row("ultra_rare", f"u{n}", "ultra_rareGulo_gulo") for n in (1, 2)],
    }
    test = {
        "DUTS": [row("DUTS", "te1", "DUTS")],
        "ultra_rare": [row("ultra_rare", "u1", "ultra_rareGulo_gulo")],
        "MIG_diff": [mig],
    }
    write_json(root / "all_meta.json", {"train": train, "test": test})


def image_folder(root: Path) -> None:
    rows = []
    for name in ("0001", "0002", "0003"):
        picture(root / f"train/images/{name}.jpg")
        mask(root / f"train/masks/{name}.png")
        rows.append({"file_name": f"images/{name}.jpg", "mask_file_name": f"masks/{name}.png", "label": "leaf"})
    (root / "train/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    picture(root / "test/é.jpg")
    mask(root / "test/é_mask.png")
    table = "file_name,mask_file_name,label\né.jpg,é_mask.png,leaf\n"
    (root / "test/metadata.csv").write_text(table, encoding="utf-8-sig")


def folders(root: Path) -> None:
    for name in ("IMG 1", "b", "c.final"):
        picture(root / f"JPEGImages/{name}.JPG")
        mask(root / f"SegmentationClass/{name}_mask.png")


def coco(root: Path) -> None:
    names = ("IMG 1.jpg", "b/é.jpg", "c.png")
    for name in names:
        picture(root / "images" / name)
    square, crowd = [[0, 0, 2, 0, 2, 2, 0, 2]], {"size": [6, 8], "counts": [36, 12]}
    rows = [(1, 1, square, 0), (1, 1, {"size": [6, 8], "counts": "0b0n0"}, 0), (2, 1, square, 0), (2, 2, crowd, 1)]
    write_json(
        root / "annotations.json",
        {
            "images": [{"id": n, "file_name": name, "height": 6, "width": 8} for n, name in enumerate(names, start=1)],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "hot dog"}, {"id": 3, "name": "unseen"}],
            "annotations": [
                {"id": n, "image_id": image, "category_id": category, "segmentation": region, "iscrowd": crowd}
                for n, (image, category, region, crowd) in enumerate([*rows, (3, 2, square, 0)])
            ],
        },
    )


BUILDERS = {
    builder.__name__: builder
    for builder in (
        *(duts, cod10k, fss1000, mgrounding, cosod3k, coco20i, inaturalist, trans10k, sbu, esdis_sod, polyp, busi),
        *(isic2018, mig_bench, cityscapes, reasonseg, released, image_folder, folders, coco),
    )
}
