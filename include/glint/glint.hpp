// Everything a C++ program needs, in the order data flows.
#pragma once

#include <glint/core/error.hpp>
#include <glint/version.hpp>

#include <glint/model/conditioning.hpp>
#include <glint/text/text_encoder.hpp>
#include <glint/text/tokenizer.hpp>

#include <glint/core/schedule_flow.hpp>
#include <glint/core/schedule_vp.hpp>

#include <glint/bundle/bundle.hpp>
#include <glint/model/callable_model.hpp>
#include <glint/model/gaussian_mixture_model.hpp>

#include <glint/guidance/cfg.hpp>
#include <glint/guidance/filters.hpp>

#include <glint/solver/dpmpp_2m.hpp>
#include <glint/solver/first_order.hpp>
#include <glint/solver/lcm.hpp>
#include <glint/solver/unipc.hpp>

#include <glint/step/reflect.hpp>
#include <glint/step/z_sampling.hpp>

#include <glint/sampling/sampler.hpp>

#include <glint/vae/image_decoder.hpp>
#include <glint/vae/image_encoder.hpp>
#include <glint/vae/video_decoder.hpp>
#include <glint/vae/video_encoder.hpp>

#include <glint/image/png.hpp>
#include <glint/image/webp.hpp>
#include <glint/io/safetensors.hpp>

#include <glint/catalog/registry.hpp>

#include <glint/pipeline/pipeline.hpp>

#include <glint/collect/noise_pairs.hpp>
#include <glint/collect/trajectories.hpp>
