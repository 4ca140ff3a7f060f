#pragma once

#include "floats_scalar.h"
#include "pairs_float.h"
#include "quads_scalar.h"
