"""Small backbones of random weights, named as the authors of DINOv2 and DINOv3 name them."""

import torch


def official_dino(registers=4, version=2, width=64, patch_size=14):
    """A small backbone of random weights under the names of its authors."""
    draw = torch.Generator().manual_seed(version)

    def random(*shape):
        return torch.randn(*shape, generator=draw) * 0.1

    tensors = {
        "cls_token": random(1, 1, width),
        "mask_token": random(1, width),
        "patch_embed.proj.weight": random(width, 3, patch_size, patch_size),
        "patch_embed.proj.bias": random(width),
        "norm.weight": 1 + random(width),
        "norm.bias": random(width),
    }
    if version == 2:
        tensors["pos_embed"] = random(1, 1 + 5 * 5, width)
        tensors["register_tokens"] = random(1, registers, width)
    else:
        tensors["storage_tokens"] = random(1, registers, width)
        tensors["rope_embed.periods"] = 100.0 ** (torch.arange(8) / 8)
    for i in range(2):
        for name, shape in {
            "norm1.weight": [width],
            "norm1.bias": [width],
            "attn.qkv.weight": [3 * width, width],
            "attn.qkv.bias": [3 * width],
            "attn.proj.weight": [width, width],
            "attn.proj.bias": [width],
            "ls1.gamma": [width],
            "norm2.weight": [width],
            "norm2.bias": [width],
            "mlp.fc1.weight": [4 * width, width],
            "mlp.fc1.bias": [4 * width],
            "mlp.fc2.weight": [width, 4 * width],
            "mlp.fc2.bias": [width],
            "ls2.gamma": [width],
        }.items():
            tensors[f"blocks.{i}.{name}"] = random(*shape)
        if version == 3:
            mask = torch.ones(3, width)
            mask[1] = 0
            tensors[f"blocks.{i}.attn.qkv.bias_mask"] = mask.flatten()
    return tensors
