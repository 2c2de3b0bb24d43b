"""Model files made small, as text, so that tests need no training."""

from pathlib import Path

INFOS = "[-3:3] [0:10] -1:0:1:2"


def tree(number: int, *, leaf_values: str = "0.5 -0.5 1.5", **changes: str) -> str:
    entries = {
        "num_leaves": "3", "num_cat": "1", "split_feature": "0 2", "split_gain": "10 5", "threshold": "0.25 0", "decision_type": "2 1",
        "left_child": "1 -1", "right_child": "-2 -3", "leaf_value": leaf_values, "leaf_weight": "10 20 30", "leaf_count": "10 20 30",
        "internal_value": "0 0.1", "internal_weight": "60 40", "internal_count": "60 40", "cat_boundaries": "0 1", "cat_threshold": "6",
        "is_linear": "0", "shrinkage": "1",
    }  # fmt: skip
    lines = [f"{key}={value}" for key, value in {**entries, **changes}.items()]
    return f"Tree={number}\n" + "\n".join(lines) + "\n\n\n"


def model_text(*trees: str, names: str = "price stock weekday", infos: str = INFOS, classes: int = 1) -> str:
    blocks = trees or (tree(0), tree(1, leaf_values="0.1 0.2 -0.3"))
    sizes = " ".join(str(len(block.encode())) for block in blocks)
    width = len(names.split(" "))
    head = (
        f"tree\nversion=v4\nnum_class={classes}\nnum_tree_per_iteration={classes}\nlabel_index=0\nmax_feature_idx={width - 1}\n"
        f"objective=regression\nfeature_names={names}\nfeature_infos={infos}\ntree_sizes={sizes}\n\n"
    )
    return (
        head
        + "".join(blocks)
        + "end of trees\n\nfeature_importances:\nprice=1\n\nparameters:\nend of parameters\n\npandas_categorical:null\n"
    )


def saved(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
