"""ViTs of timm with random weights."""

import timm
import torch
from safetensors.torch import save_file


def save_random(name, path):
    """Write random weights as timm publishes them; the network that they belong to."""
    torch.manual_seed(5)
    vit = timm.create_model(name, dynamic_img_size=True).eval()
    for block in vit.blocks:  # timm begins with biases of 0
        for bias in (block.attn.qkv.bias, getattr(block.attn, "v_bias", None)):
            if bias is not None:
                torch.nn.init.normal_(bias)
    save_file({n: t.contiguous() for n, t in vit.state_dict().items()}, path)
    return vit
