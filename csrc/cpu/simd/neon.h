#pragma once

#include "floats_neon.h"
#include "pairs_float.h"
#include "quads_neon.h"
