#pragma once

#include "floats_scalar.h"
#include "quads_scalar.h"
