//===- HfConfig.cpp - Reference config.json and params ----------*- C++ -*-===//
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
  LowRank,     ///< As Rank; negative too: `full`.
  Switch,      ///< true or false; becomes a param if present.
  Fixed,       ///< Must be one of `allowed`, or absent; the first is what is written.
  Ignored,     ///< Says how the reference runs a model, not what it is; `allowed` is what is written, if anything.
};

struct Row {
  llvm::StringRef key;
  Rule rule;
  llvm::StringRef param;   ///< For the param rules.
  llvm::StringRef allowed; ///< JSON values separated by spaces; of an OptionParam without param: what is written.
};

struct Table {
  llvm::StringRef modelType;
  llvm::StringRef architecture; ///< The reference's class.
  llvm::StringRef example;      ///< Our program.
  llvm::ArrayRef<Row> rows;
};

/// Keys of every model type that do not matter.
constexpr Row kCommon[] = {
    {"bos_token_id", Rule::Ignored, "", "1"},
    {"eos_token_id", Rule::Ignored, "", "2"},
    {"pad_token_id", Rule::Ignored, "", "null"},
    {"max_position_embeddings", Rule::Ignored, "", "2048"},
    {"use_cache", Rule::Ignored, "", "true"},
    {"fuse_norm", Rule::Ignored, "", "true"},
    {"fuse_swiglu", Rule::Ignored, "", "true"},
    {"fuse_cross_entropy", Rule::Ignored, "", "true"},
    {"model_type", Rule::Ignored, "", ""},
    {"architectures", Rule::Ignored, "", ""},
    {"auto_map", Rule::Ignored, "", ""},
    {"_name_or_path", Rule::Ignored, "", ""},
    {"torch_dtype", Rule::Ignored, "", ""},
    {"dtype", Rule::Ignored, "", ""},
    {"transformers_version", Rule::Ignored, "", ""},
    {"attn_mode", Rule::Ignored, "", ""},
    {"fuse_linear_cross_entropy", Rule::Ignored, "", ""},
    {"last_layer_fuse_norm", Rule::Ignored, "", ""},
    {"use_fused_kernel", Rule::Ignored, "", ""},
};

// FLA's GLAConfig. `conv_size` has no meaning without `use_short_conv`.
constexpr Row kGla[] = {
    {"attn_mode", Rule::Ignored, "", "\"chunk\""},
    {"fuse_linear_cross_entropy", Rule::Ignored, "", "false"},
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
    {"conv_size", Rule::OptionParam, "", "4"},
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
    {"attn_mode", Rule::Ignored, "", "\"chunk\""},
    {"fuse_linear_cross_entropy", Rule::Ignored, "", "false"},
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
    {"attn_mode", Rule::Ignored, "", "\"chunk\""},
    {"fuse_linear_cross_entropy", Rule::Ignored, "", "false"},
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

// LaCT's LaCTSWIGLUConfig. `fp32_states` is about rounding only: the states have the precision of the run.
constexpr Row kLact[] = {
    {"hidden_size", Rule::Param, "D", ""},
    {"num_hidden_layers", Rule::Param, "L", ""},
    {"num_attn_heads", Rule::Param, "H", ""},
    {"num_lact_heads", Rule::Param, "N", ""},
    {"vocab_size", Rule::Param, "vocab", ""},
    {"lact_chunk_size", Rule::Param, "chunk", ""},
    {"window_size", Rule::Param, "window", ""},
    {"rope_theta", Rule::Param, "theta", ""},
    {"norm_eps", Rule::Param, "eps", ""},
    {"initializer_range", Rule::Param, "init_std", ""},
    {"inter_multi", Rule::OptionParam, "expand", ""},
    {"fw_init_gain", Rule::OptionParam, "gain", ""},
    {"hidden_ratio", Rule::OptionParam, "mlp_ratio", ""},
    {"intermediate_size", Rule::OptionParam, "mlp_width", ""},
    {"w0_w2_low_rank", Rule::LowRank, "rank", ""},
    {"use_momentum", Rule::Switch, "momentum", ""},
    {"use_muon", Rule::Switch, "muon", ""},
    {"fp32_states", Rule::Ignored, "", "true"},
    {"attn_qk_norm", Rule::Fixed, "", "false"},
    {"elementwise_affine", Rule::Fixed, "", "true"},
    {"hidden_act", Rule::Fixed, "", "\"swish\" \"silu\""},
    {"learnable_ttt_scale", Rule::Fixed, "", "true"},
    {"lr_dim", Rule::Fixed, "", "1"},
    {"lr_parameterization", Rule::Fixed, "", "\"mamba\""},
    {"no_v_silu", Rule::Fixed, "", "false"},
    {"qkv_bias", Rule::Fixed, "", "false"},
    {"qkv_silu", Rule::Fixed, "", "true"},
    {"tie_word_embeddings", Rule::Fixed, "", "false"},
    {"last_layer_fuse_norm", Rule::Ignored, "", "true"},
    {"use_fused_kernel", Rule::Ignored, "", "false"},
    {"ttt_loss_type", Rule::Fixed, "", "\"dot_product\""},
    {"ttt_nope", Rule::Fixed, "", "false"},
    {"ttt_prenorm", Rule::Fixed, "", "false"},
};

constexpr Table kTables[] = {
    {"gla", "GLAForCausalLM", "gla/gla.tg", kGla},
    {"delta_net", "DeltaNetForCausalLM", "delta_net/delta_net.tg", kDeltaNet},
    {"gated_deltanet", "GatedDeltaNetForCausalLM", "gated_deltanet/gated_deltanet.tg", kGatedDeltaNet},
    {"lact_swiglu", "LaCTForCausalLM", "lact/lact.tg", kLact},
};

const Table *tableOf(llvm::StringRef modelType) {
  auto *found = llvm::find_if(kTables, [&](const Table &table) { return table.modelType == modelType; });
  return found == std::end(kTables) ? nullptr : found;
}

const Row *rowOf(const Table &table, llvm::StringRef key) {
  for (llvm::ArrayRef<Row> rows : {table.rows, llvm::ArrayRef<Row>(kCommon)})
    for (const Row &row : rows)
      if (row.key == key)
        return &row;
  return nullptr;
}

class Reader {
public:
  Reader(llvm::StringRef name, const Json &config, Diagnostics &diagnostics)
      : name(name), config(config), diagnostics(diagnostics) {}

  std::optional<ParamOverrides> read(const Table &table) {
    for (const Row &row : table.rows)
      apply(row);
    llvm::SmallVector<llvm::StringRef> known;
    for (llvm::ArrayRef<Row> rows : {table.rows, llvm::ArrayRef<Row>(kCommon)})
      for (const Row &row : rows)
        known.push_back(row.key);
    for (const auto &[key, value] : config.items())
      if (!rowOf(table, key)) {
        std::string nearest = nearestName(key, known);
        fail("'" + key + "' is not a known option of model_type '" + table.modelType + "'" +
             (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
      }
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
    case Rule::Ignored:
      return;
    case Rule::Fixed: {
      llvm::SmallVector<llvm::StringRef> allowed;
      row.allowed.split(allowed, ' ');
      if (found != config.end() && !llvm::is_contained(allowed, llvm::StringRef(found->dump())))
        fail("expected '" + row.key + "' to be " + llvm::join(allowed, " or ") + ", but got " + found->dump());
      return;
    }
    case Rule::Switch:
      if (absent)
        return;
      if (!found->is_boolean())
        return fail("expected true or false for '" + row.key + "', but got " + found->dump());
      params.emplace_back(row.param.str(), found->dump());
      return;
    case Rule::LowRank:
      absent |= !absent && found->is_number_integer() && *found < 0;
      [[fallthrough]];
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

/// A param's value as JSON: `1024`, `1/2`, `1e-06`.
std::optional<Json> numberOf(llvm::StringRef value) {
  auto [numerator, denominator] = value.split('/');
  int64_t n, d = 1;
  double x;
  if (!numerator.getAsInteger(10, n) && (denominator.empty() || !denominator.getAsInteger(10, d)))
    return d == 1 ? Json(n) : Json(double(n) / double(d));
  if (!value.getAsDouble(x))
    return Json(x);
  return std::nullopt;
}

/// The object of a config, with its table; null after a diagnostic.
const Table *parse(llvm::StringRef text, llvm::StringRef name, Json &config, Diagnostics &diagnostics) {
  auto fail = [&](const llvm::Twine &message) {
    diagnostics.error(Range(), name + ": " + message);
    return nullptr;
  };
  config = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (config.is_discarded() || !config.is_object())
    return fail("expected a JSON object");
  auto type = config.find("model_type");
  if (type != config.end() && type->is_string())
    if (const Table *table = tableOf(type->get<std::string>()))
      return table;
  llvm::SmallVector<llvm::StringRef> known;
  for (const Table &table : kTables)
    known.push_back(table.modelType);
  return fail("expected 'model_type' to be " + llvm::join(known, " or ") + ", but " +
              (type == config.end() ? std::string("it is missing") : "got " + type->dump()));
}

} // namespace

std::optional<ReferenceModel> tidegate::dsl::readConfigText(llvm::StringRef text, llvm::StringRef name,
                                                            Diagnostics &diagnostics) {
  Json config;
  const Table *table = parse(text, name, config, diagnostics);
  auto params = table ? Reader(name, config, diagnostics).read(*table) : std::nullopt;
  if (!params)
    return std::nullopt;
  return ReferenceModel{table->modelType.str(), table->example.str(), std::move(*params)};
}

std::optional<ReferenceModel> tidegate::dsl::readConfig(const std::string &path, Diagnostics &diagnostics) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (buffer)
    return readConfigText((*buffer)->getBuffer(), path, diagnostics);
  diagnostics.error(Range(), "cannot read '" + path + "': " + buffer.getError().message());
  return std::nullopt;
}

std::vector<ReferenceModel> tidegate::dsl::referenceModels() {
  std::vector<ReferenceModel> models;
  for (const Table &table : kTables)
    models.push_back({table.modelType.str(), table.example.str(), {}});
  return models;
}

std::optional<std::string> tidegate::dsl::writeConfig(const ReferenceModel &model, llvm::StringRef dtype,
                                                      std::string &why) {
  const Table *table = tableOf(model.modelType);
  nlohmann::ordered_json config = {{"model_type", model.modelType},
                                   {"architectures", {table->architecture.str()}},
                                   {"torch_dtype", dtype.str()}};
  for (llvm::ArrayRef<Row> rows : {table->rows, llvm::ArrayRef<Row>(kCommon)})
    for (const Row &row : rows) {
      auto param = llvm::find_if(model.params, [&](const auto &p) { return p.first == row.param; });
      if (row.param.empty()) {
        if (!row.allowed.empty() && !config.contains(row.key.str()))
          config[row.key.str()] = Json::parse(row.allowed.split(' ').first.str());
      } else if (param == model.params.end()) {
        why = ("it has no param '" + row.param + "'").str();
        return std::nullopt;
      } else if (row.rule == Rule::Rank && param->second == "full") {
        config[row.key.str()] = 0;
      } else if (row.rule == Rule::LowRank && param->second == "full") {
        config[row.key.str()] = -1;
      } else if (row.rule == Rule::Switch) {
        config[row.key.str()] = param->second == "true";
      } else if (auto number = numberOf(param->second)) {
        config[row.key.str()] = *number;
      } else {
        why = "its param '" + param->first + "' is " + param->second + ", not a number";
        return std::nullopt;
      }
    }
  return config.dump(2) + "\n";
}

std::optional<ParamOverrides> tidegate::dsl::paramsFromConfigText(llvm::StringRef text, llvm::StringRef name,
                                                                  Diagnostics &diagnostics) {
  auto model = readConfigText(text, name, diagnostics);
  return model ? std::optional(std::move(model->params)) : std::nullopt;
}

std::optional<ParamOverrides> tidegate::dsl::paramsFromConfig(const std::string &path, Diagnostics &diagnostics) {
  auto model = readConfig(path, diagnostics);
  return model ? std::optional(std::move(model->params)) : std::nullopt;
}
