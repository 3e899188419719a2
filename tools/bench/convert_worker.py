"""convert_worker.py MODEL.gguf FOLDER: a model folder in float32 for transformers."""

import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name,
                                              dtype=torch.float32)
# A model that was loaded from a GGUF file cannot be saved: copy its values into a plain one.
config = type(loaded.config)(**{
    key: value for key, value in loaded.config.to_dict().items() if key != 'quantization_config'})
plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
plain.load_state_dict(loaded.state_dict())
plain.tie_weights()
plain.generation_config.eos_token_id = 2
plain.save_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
tokenizer.save_pretrained(folder)
