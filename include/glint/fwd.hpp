// Forward declarations of the public types, cheap enough for any interface header to include.
#pragma once

namespace at {
class Tensor;
}

namespace glint {

class Error;
class Model;
class NoiseSchedule;
class GuidanceRule;
class Solver;
class NoiseStrategy;
class StepStrategy;
class Observer;
class Sampler;
class Run;
class NoiseStream;
struct AttentionPolicy;
struct Conditioning;
struct Predictor;
struct Level;
struct Prompt;
struct SampleRequest;
struct SampleResult;

}  // namespace glint
