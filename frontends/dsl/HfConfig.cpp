//===- HfConfig.cpp - Reference config.json to params -----------*- C++ -*-===//
#include "frontends/dsl/HfConfig.h"
#include "frontends/dsl/Number.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include <nlohmann/json.hpp>

using namespace tidegate::dsl;
using Json = nlohmann::json;

namespace {

enum class Rule {
  Param,       ///< Required; becomes a param.
  OptionParam, ///< Becomes a param if present and not null.
  Rank,        ///< 0 or absent: `full`.
  Fixed,       ///< Must be one of `allowed`, or absent.
};

struct Row {
  llvm::StringRef key;
  Rule rule;
  llvm::StringRef param;   ///< For the param rules.
  llvm::StringRef allowed; ///< For Fixed: JSON values separated by spaces.
};

struct Table {
  llvm::StringRef modelType;
  llvm::ArrayRef<Row> rows;
};

/// Keys that say how the reference runs or stores a model, not what it is.
constexpr llvm::StringRef kIrrelevant[] = {
    "model_type",
    "architectures",
    "auto_map",
    "_name_or_path",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "use_cache",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "max_position_embeddings",
    "attn_mode",
    "fuse_norm",
    "fuse_swiglu",
    "fuse_cross_entropy",
    "fuse_linear_cross_entropy",
    "last_layer_fuse_norm",
    "use_fused_kernel",
};

// FLA's GLAConfig. `conv_size` has no meaning without `use_short_conv`.
constexpr Row kGla[] = {
    {"hidden_size", Rule::Param, "D", ""},
    {"num_hidden_layers", Rule::Param, "L", ""},
    {"num_heads", Rule::Param, "H", ""},
    {"vocab_size", Rule::Param, "vocab", ""},
    {"expand_k", Rule::Param, "expand_k", ""},
    {"expand_v", Rule::Param, "expand_v", ""},
    {"norm_eps", Rule::Param, "eps", ""},
    {"initializer_range", Rule::Param, "init_std", ""},
    {"hidden_ratio", Rule::OptionParam, "mlp_ratio", ""},
    {"intermediate_size", Rule::OptionParam, "mlp_width", ""},
    {"gate_low_rank_dim", Rule::OptionParam, "gate_rank", ""},
    {"gate_logit_normalizer", Rule::OptionParam, "gate_normalizer", ""},
    {"qkv_rank", Rule::Rank, "rank", ""},
    {"hidden_act", Rule::Fixed, "", "\"swish\" \"silu\""},
    {"use_gk", Rule::Fixed, "", "true"},
    {"use_gv", Rule::Fixed, "", "false"},
    {"use_output_gate", Rule::Fixed, "", "true"},
    {"use_short_conv", Rule::Fixed, "", "false"},
    {"conv_size", Rule::OptionParam, "", ""},
    {"clamp_min", Rule::Fixed, "", "null"},
    {"feature_map", Rule::Fixed, "", "null"},
    {"num_kv_heads", Rule::Fixed, "", "null"},
    {"elementwise_affine", Rule::Fixed, "", "true"},
    {"attn", Rule::Fixed, "", "null"},
    {"attnres_block_size", Rule::Fixed, "", "null"},
    {"tie_word_embeddings", Rule::Fixed, "", "false"},
    {"use_l2warp", Rule::Fixed, "", "false"},
};

// FLA's DeltaNetConfig.
constexpr Row kDeltaNet[] = {
    {"hidden_size", Rule::Param, "D", ""},
    {"num_hidden_layers", Rule::Param, "L", ""},
    {"num_heads", Rule::Param, "H", ""},
    {"vocab_size", Rule::Param, "vocab", ""},
    {"expand_k", Rule::Param, "expand_k", ""},
    {"expand_v", Rule::Param, "expand_v", ""},
    {"norm_eps", Rule::Param, "eps", ""},
    {"initializer_range", Rule::Param, "init_std", ""},
    {"conv_size", Rule::OptionParam, "conv_width", ""},
    {"hidden_ratio", Rule::OptionParam, "mlp_ratio", ""},
    {"intermediate_size", Rule::OptionParam, "mlp_width", ""},
    {"qkv_rank", Rule::Rank, "rank", ""},
    {"hidden_act", Rule::Fixed, "", "\"swish\" \"silu\""},
    {"qk_activation", Rule::Fixed, "", "\"silu\""},
    {"qk_norm", Rule::Fixed, "", "\"l2\""},
    {"use_beta", Rule::Fixed, "", "true"},
    {"use_gate", Rule::Fixed, "", "false"},
    {"use_output_norm", Rule::Fixed, "", "true"},
    {"use_short_conv", Rule::Fixed, "", "true"},
    {"allow_neg_eigval", Rule::Fixed, "", "false"},
    {"attn", Rule::Fixed, "", "null"},
    {"attnres_block_size", Rule::Fixed, "", "null"},
    {"tie_word_embeddings", Rule::Fixed, "", "false"},
    {"use_l2warp", Rule::Fixed, "", "false"},
};

// FLA's GatedDeltaNetConfig. `num_v_heads` may exceed `num_heads`.
constexpr Row kGatedDeltaNet[] = {
    {"hidden_size", Rule::Param, "D", ""},
    {"num_hidden_layers", Rule::Param, "L", ""},
    {"num_heads", Rule::Param, "H", ""},
    {"num_v_heads", Rule::OptionParam, "H_v", ""},
    {"head_dim", Rule::Param, "head_dim", ""},
    {"vocab_size", Rule::Param, "vocab", ""},
    {"expand_v", Rule::Param, "expand_v", ""},
    {"norm_eps", Rule::Param, "eps", ""},
    {"initializer_range", Rule::Param, "init_std", ""},
    {"conv_size", Rule::OptionParam, "conv_width", ""},
    {"hidden_ratio", Rule::OptionParam, "mlp_ratio", ""},
    {"intermediate_size", Rule::OptionParam, "mlp_width", ""},
    {"qkv_rank", Rule::Rank, "rank", ""},
    {"hidden_act", Rule::Fixed, "", "\"swish\" \"silu\""},
    {"use_gate", Rule::Fixed, "", "true"},
    {"use_short_conv", Rule::Fixed, "", "true"},
    {"allow_neg_eigval", Rule::Fixed, "", "false"},
    {"attn", Rule::Fixed, "", "null"},
    {"attnres_block_size", Rule::Fixed, "", "null"},
    {"tie_word_embeddings", Rule::Fixed, "", "false"},
    {"use_l2warp", Rule::Fixed, "", "false"},
};

constexpr Table kTables[] = {{"gla", kGla}, {"delta_net", kDeltaNet}, {"gated_deltanet", kGatedDeltaNet}};

class Reader {
public:
  Reader(llvm::StringRef name, const Json &config, Diagnostics &diagnostics)
      : name(name), config(config), diagnostics(diagnostics) {}

  std::optional<ParamOverrides> read(const Table &table) {
    for (const Row &row : table.rows)
      apply(row);
    for (const auto &[key, value] : config.items())
      if (!llvm::is_contained(kIrrelevant, llvm::StringRef(key)) &&
          llvm::none_of(table.rows, [&, &key = key](const Row &row) { return row.key == key; }))
        fail("'" + key + "' is not a known option of model_type '" + table.modelType + "'");
    return good ? std::optional(std::move(params)) : std::nullopt;
  }

private:
  void fail(const llvm::Twine &message) {
    diagnostics.error(Range(), name + ": " + message);
    good = false;
  }

  void apply(const Row &row) {
    auto found = config.find(row.key.str());
    bool absent = found == config.end() || found->is_null();
    switch (row.rule) {
    case Rule::Fixed: {
      llvm::SmallVector<llvm::StringRef> allowed;
      row.allowed.split(allowed, ' ');
      if (found != config.end() && !llvm::is_contained(allowed, llvm::StringRef(found->dump())))
        fail("expected '" + row.key + "' to be " + llvm::join(allowed, " or ") + ", but got " + found->dump());
      return;
    }
    case Rule::Rank:
      if (!absent && found->is_number_integer() && *found > 0)
        params.emplace_back(row.param.str(), found->dump());
      else if (absent || *found == 0)
        params.emplace_back(row.param.str(), "full");
      else
        fail("expected an integer of at least 0 for '" + row.key + "', but got " + found->dump());
      return;
    case Rule::Param:
    case Rule::OptionParam:
      if (absent && row.rule == Rule::OptionParam)
        return;
      if (absent || !found->is_number())
        return fail("expected a number for '" + row.key + "', but " +
                    (found == config.end() ? std::string("it is missing") : "got " + found->dump()));
      if (!row.param.empty())
        params.emplace_back(row.param.str(), found->is_number_float() ? formatDouble(*found) : found->dump());
      return;
    }
  }

  llvm::StringRef name;
  const Json &config;
  Diagnostics &diagnostics;
  ParamOverrides params;
  bool good = true;
};

} // namespace

std::optional<ParamOverrides> tidegate::dsl::paramsFromConfigText(llvm::StringRef text, llvm::StringRef name,
                                                                  Diagnostics &diagnostics) {
  auto fail = [&](const llvm::Twine &message) {
    diagnostics.error(Range(), name + ": " + message);
    return std::nullopt;
  };
  Json config = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (config.is_discarded() || !config.is_object())
    return fail("expected a JSON object");
  auto type = config.find("model_type");
  llvm::SmallVector<llvm::StringRef> known;
  for (const Table &table : kTables) {
    if (type != config.end() && *type == table.modelType.str())
      return Reader(name, config, diagnostics).read(table);
    known.push_back(table.modelType);
  }
  return fail("expected 'model_type' to be " + llvm::join(known, " or ") + ", but " +
              (type == config.end() ? std::string("it is missing") : "got " + type->dump()));
}

std::optional<ParamOverrides> tidegate::dsl::paramsFromConfig(const std::string &path, Diagnostics &diagnostics) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (buffer)
    return paramsFromConfigText((*buffer)->getBuffer(), path, diagnostics);
  diagnostics.error(Range(), "cannot read '" + path + "': " + buffer.getError().message());
  return std::nullopt;
}
