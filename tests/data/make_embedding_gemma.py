#!/usr/bin/env python3
"""A tiny random EmbeddingGemma and what transformers (float32) gives for it.

Usage: make_embedding_gemma.py [--f32] [OUT]    (default: golden/ beside this file)

Writes OUT/embedding-gemma.gguf, laid out as llama.cpp's converter does with --sentence-transformers-dense-modules
(matrices F16, or F32 with --f32), and OUT/embedding_gemma.json: input_ids, and from the F16-rounded weights in either
case the mean of the last hidden states over all tokens and the embedding, which is normalise(dense_3(dense_2(mean))).
The tokenizer is that of golden/gemma3_base.
"""
import argparse
import pathlib

import gguf
import numpy as np
import torch

from golden_model import HERE, make_fixtures, rounded, write_json

TOKENS = 40
DENSE = 128
SPEC = dict(name="embedding-gemma", fam="gemma3", seed=151, cfg=make_fixtures.g3(
    **make_fixtures.dims(512, 64, 32, 6, 2, 1, 32), query_pre_attn_scalar=32, sliding_window=8,
    max_position_embeddings=2048, use_bidirectional_attention=True))


def make_model():
    """-> (Gemma3ForCausalLM, dense_2, dense_3), all matrices rounded to F16."""
    model = make_fixtures.new_model(SPEC)
    make_fixtures.init_weights(model, SPEC)
    generator = torch.Generator().manual_seed(SPEC["seed"] + 1)
    width = SPEC["cfg"]["hidden_size"]
    dense = [torch.randn((DENSE, width), generator=generator) / width**0.5,
             torch.randn((width, DENSE), generator=generator) / DENSE**0.5]
    for tensor in [*model.state_dict().values(), *dense]:
        if tensor.ndim == 2:
            tensor.copy_(tensor.half().float())
    return model, *dense


def write_gguf(path, tensors, matrix_type):
    config = SPEC["cfg"]
    writer = gguf.GGUFWriter(path, "gemma-embedding")
    writer.add_type("model")
    writer.add_name("tiny EmbeddingGemma")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_dense_features_dims("dense_2", config["hidden_size"], DENSE)
    writer.add_dense_features_dims("dense_3", DENSE, config["hidden_size"])
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if matrix_type is np.float32 else gguf.LlamaFileType.MOSTLY_F16)
    fields = gguf.GGUFReader(HERE / "golden" / "gemma3_base" / "model-q8_0.gguf").fields
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(fields["tokenizer.ggml.tokens"].contents())
    writer.add_token_scores(fields["tokenizer.ggml.scores"].contents())
    writer.add_token_types(fields["tokenizer.ggml.token_type"].contents())
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_add_space_prefix(False)
    for name, values in tensors:
        writer.add_tensor(name, values.astype(matrix_type if values.ndim == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--f32", action="store_true", help="store the matrices as F32")
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=HERE / "golden")
    args = parser.parse_args()
    model, dense_2, dense_3 = make_model()
    weights = {name: t for name, t in model.state_dict().items() if name != "lm_head.weight"}
    tensors = make_fixtures.gguf_tensors(SPEC, weights)
    tensors += [("dense_2.weight", dense_2.numpy()), ("dense_3.weight", dense_3.numpy())]
    write_gguf(args.out / "embedding-gemma.gguf", tensors, np.float32 if args.f32 else np.float16)

    generator = np.random.RandomState(SPEC["seed"])
    ids = [2] + [int(x) for x in generator.randint(4, SPEC["cfg"]["vocab_size"], TOKENS - 2)] + [1]
    hidden = model.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0].double()
    mean = hidden.mean(0)
    embedding = dense_3.double() @ (dense_2.double() @ mean)
    write_json(args.out / "embedding_gemma.json", {
        "input_ids": ids, "mean": rounded(mean.tolist()),
        "embedding": rounded((embedding / embedding.norm()).tolist())})


if __name__ == "__main__":
    main()
