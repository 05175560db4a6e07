"""KuaiRand-Pure: the two standard logs, the users and the videos, under their official names."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .names import names

LOG = names(
    """user_id video_id date hourmin time_ms is_click is_like is_follow is_comment is_forward is_hate long_view
    play_time_ms duration_ms profile_stay_time comment_stay_time is_profile_enter is_rand tab"""
)
USER = names(
    """user_id user_active_degree is_lowactive_period is_live_streamer is_video_author follow_user_num
    follow_user_num_range fans_user_num fans_user_num_range friend_user_num friend_user_num_range register_days
    register_days_range"""
) + [f"onehot_feat{i}" for i in range(18)]
VIDEO = names(
    """video_id author_id video_type upload_dt upload_type visible_status video_duration server_width server_height
    music_id music_type tag"""
)


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    users, videos = max(6, rows // 9), max(6, rows // 15)
    _table(folder / "user_features_pure.csv", USER, (_user(i, rng) for i in range(users)))
    _table(folder / "video_features_basic_pure.csv", VIDEO, (_video(i, rng) for i in range(videos)))
    times = np.sort(rng.integers(1_649_347_200_000, 1_652_025_600_000, rows))
    shown: list[dict[str, object]] = []
    for time in times.tolist():
        click = int(rng.random() < 0.4)
        like = int(rng.random() < (0.3 if click else 0.02))
        shown.append(
            {
                **dict.fromkeys(LOG, 0), "user_id": rng.integers(users), "video_id": rng.integers(videos),
                "time_ms": time, "tab": rng.integers(15),
                "date": 20220408 + (time - 1_649_347_200_000) // 86_400_000 % 22,
                "hourmin": 100 * rng.integers(24),
                "is_click": click, "is_like": like, "long_view": int(rng.random() < 0.7 * click),
                "duration_ms": rng.integers(5000, 200_000), "play_time_ms": rng.integers(0, 60_000),
            }
        )  # fmt: skip
        if rng.random() < 0.03:
            shown.append(shown[-1])  # the log repeats some impressions
    half = len(shown) // 2
    _table(folder / "log_standard_4_08_to_4_21_pure.csv", LOG, shown[:half])
    _table(folder / "log_standard_4_22_to_5_08_pure.csv", LOG, shown[half:])


def _user(i: int, rng: np.random.Generator) -> dict[str, object]:
    return {
        **{f"onehot_feat{k}": rng.integers(3) for k in range(18)}, "user_id": i,
        "user_active_degree": rng.choice(["full_active", "high_active", "UNKNOWN"]), "is_lowactive_period": 0,
        "is_live_streamer": -124 if rng.random() < 0.1 else 0, "is_video_author": rng.integers(2),
        "follow_user_num": 514, "follow_user_num_range": rng.choice(["500+", "(50,100]", "0"]),
        "fans_user_num": 150, "fans_user_num_range": rng.choice(["[100,1k)", "[1,10)"]), "friend_user_num": 34,
        "friend_user_num_range": "[30,60)", "register_days": rng.integers(1, 2000), "register_days_range": "730+",
        "onehot_feat4": "" if rng.random() < 0.1 else "1.0",
    }  # fmt: skip


def _video(i: int, rng: np.random.Generator) -> dict[str, object]:
    tags = ",".join(str(t) for t in rng.choice(60, int(rng.integers(0, 4)), replace=False))
    return {
        "video_id": i, "author_id": rng.integers(7), "video_type": "NORMAL", "upload_dt": "2022-04-10",
        "upload_type": rng.choice(["LongImport", "ShortImport"]), "visible_status": "0.0",
        "video_duration": "" if rng.random() < 0.1 else f"{rng.integers(5000, 200_000)}.0", "server_width": "720.0",
        "server_height": "1280.0", "music_id": 9155697141 + i % 5, "music_type": "9.0", "tag": tags,
    }  # fmt: skip


def _table(path: Path, columns: list[str], rows: object) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)  # type: ignore[arg-type]
