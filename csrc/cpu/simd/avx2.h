#pragma once

#include "floats256.h"
#include "quads256.h"
