"""Prompt sets: the classes to look for, their phrases, ids and colours, and the prompt file."""

from dinoiser.prompts.prompt_class import PromptClass
from dinoiser.prompts.prompt_set import PromptSet

__all__ = ["PromptClass", "PromptSet"]
