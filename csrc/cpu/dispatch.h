// Which instruction sets this build holds, which of them this processor has, and the one to use.
#pragma once

#include <string>
#include <vector>

#include "cpu/isa.h"

namespace wavenet::cpu {

// Fastest first. Built: compiled into this library; usable: of those, the ones this processor runs.
std::vector<const Isa*> built_isas();
std::vector<const Isa*> usable_isas();

// The instruction set of that name, or the fastest usable one for an empty name. A name that is unknown or
// that this processor lacks: std::invalid_argument with the names that would do.
const Isa& find_isa(const std::string& name);

}  // namespace wavenet::cpu
